"""What becomes of a machine when its test is over: it is looked through, remembered, shown, or left running."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from builder.core.errors import BuildError, VmError
from builder.core.store import Store
from builder.core.tools import Tools
from vm.machine import Machine
from vm.registry.running import SSH_PORT, Registry, locate_registry
from vm.testing import shell
from vm.testing.collect import collect
from vm.testing.records import MachineRecord, make_machine_property
from vm.testing.rerun import FAILED

KEPT = pytest.StashKey[list[str]]()


def look_through(item: pytest.Item, machine: Machine, cpu_before: float = 0.0) -> None:
    """Look for bad signs in the journal, keep what tells of a failure, and remember what the machine cost.

    Args:
        cpu_before: processor time that a machine which serves many tests had used before this one.
    """
    with suppress(VmError):  # a machine that is off, broken or without a probe has only its console
        machine.scan_journal()
    if has_failed(item, machine):
        collect(machine)
        if item.config.getoption("--vm-shell"):
            with _terminal(item.config):
                shell.attend(machine, input, _say)
    item.user_properties.append(make_machine_property(MachineRecord.describe(machine, cpu_before)))


def has_failed(item: pytest.Item, machine: Machine) -> bool:
    """Whether the test has failed, or is about to because of what its machine has shown."""
    return item.stash.get(FAILED, False) or bool(machine.sightings)


def keep_if_asked(item: pytest.Item, machine: Machine, store: Store, tools: Tools, release: Callable[[], None]) -> None:
    """With ``--vm-keep``, let the machine of a failed test run on.

    Args:
        release: ends the block of the machine, which is told before that it is to be left.
    """
    if not (item.config.getoption("--vm-keep") and has_failed(item, machine)) or machine.is_off:
        return
    machines = Registry(locate_registry(os.environ, store))
    with suppress(BuildError):  # without a network, or without anybody to answer, it still runs
        machine.forward(SSH_PORT)
    machine.resume()
    record = replace(machine.leave(), name=machines.choose_name(machine.spec.name))
    (machine.folder.root / "tools").write_text(str(tools.root), encoding="utf-8")
    machines.add(record)
    release()
    ports = ", ".join(f"127.0.0.1:{host} leads to its port {guest}" for guest, host in record.forwards.items())
    said = f"{record.name} runs on for {item.nodeid}{f' ({ports})' if ports else ''}"
    item.config.stash.setdefault(KEPT, []).append(f"{said}; 'build-os machine stop {record.name}' ends it")


@contextmanager
def _terminal(config: pytest.Config) -> Iterator[None]:
    """The terminal for ourselves, while pytest captures nothing."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend(in_=True)
    try:
        yield
    finally:
        capture.resume()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
