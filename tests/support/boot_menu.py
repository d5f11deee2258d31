"""A person at the console of a machine that starts, who wants something else than what it would start."""

from __future__ import annotations

import threading

from vm.machine import Machine


def choose_in_menu(machine: Machine, down: int) -> None:
    """Hold a key until systemd-boot's menu is there, go so many entries down, and start that one."""
    is_there = threading.Event()

    def hold() -> None:
        while not is_there.wait(0.1):
            machine.type(" ")

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        machine.wait_console("Reboot Into Firmware")  # its last entry
    finally:
        is_there.set()
        thread.join()
    machine.type("j" * down + "\r")
