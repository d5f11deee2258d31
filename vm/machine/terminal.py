"""A person at a machine's serial line: keys go there, what it says comes here."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm.machine import Machine

LEAVE = b"\x1d"  # Ctrl-], as in telnet and virsh console
LEAVE_NAME = "Ctrl-]"


def show(data: bytes) -> None:
    """What a machine's ``echo`` can be: pass everything to the terminal as it is."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def make_raw(descriptor: int) -> Iterator[None]:
    """A terminal that hands on every key, Ctrl-C included; one that is none is left alone."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def attend(machine: Machine, descriptor: int, look: Callable[[], None] = lambda: None) -> bool:
    """Pass keys to the machine until it is off (``True``) or the person leaves with Ctrl-] (``False``).

    Args:
        look: called often meanwhile.
    """
    with make_raw(descriptor):
        while not machine.is_off:
            look()
            ready, _, _ = select.select([descriptor], [], [], 0.25)
            if not ready:
                continue
            keys = os.read(descriptor, 1024)
            before, leave, _ = keys.partition(LEAVE)
            machine.type(before)
            if leave or not keys:
                return False
    return True


def connect_terminal(line: socket.socket, descriptor: int, show: Callable[[bytes], None]) -> bool:
    """The same over a socket that is a machine's serial line; nothing happens to the machine when the person leaves."""
    with make_raw(descriptor):
        while True:
            ready, _, _ = select.select([descriptor, line.fileno()], [], [])
            if line.fileno() in ready:
                if not (said := line.recv(1 << 16)):
                    return True
                show(said)
            if descriptor in ready:
                keys = os.read(descriptor, 1024)
                before, leave, _ = keys.partition(LEAVE)
                line.sendall(before)
                if leave or not keys:
                    return False
