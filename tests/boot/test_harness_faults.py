"""What the harness itself survives, with a real QEMU: nothing is left behind, and what happened is said."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.errors import VmError
from vm.guest.credentials import PROBE_UNIT
from vm.spec import Forward

if TYPE_CHECKING:
    from vm.machine import Machine
    from vm.pytest_plugin import VmFactory

pytestmark = pytest.mark.boot

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
NEVER = "a line that no guest writes"


def processes_of(folder: Path) -> list[int]:
    """QEMUs that have to do with a machine's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command and b"qemu-system" in command:
            found.append(int(entry.parent.name))
    return found


def qemu_of(vm: Machine) -> int:
    """The process of a machine, which must be the only one."""
    [number] = processes_of(vm.folder.root)
    return number


def test_a_guest_that_never_says_it_ends_the_wait_and_leaves_nothing(vm_factory: VmFactory) -> None:
    vm = vm_factory(probe=False, net="none")
    vm.pause()
    with pytest.raises(VmError, match=f"{NEVER}.* did not come within"):
        vm.wait_console(NEVER, within=0.5)
    number = qemu_of(vm)
    vm.__exit__(None, None, None)
    assert not Path(f"/proc/{number}").exists()
    assert list(vm.folder.root.glob("disk*")) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_qemu_that_dies_ends_the_wait(vm_factory: VmFactory, number: signal.Signals) -> None:
    vm = vm_factory(probe=False, net="none")
    os.kill(qemu_of(vm), number)
    with pytest.raises(VmError, match="QEMU ended with status"):
        vm.wait_console(NEVER)


def test_a_qemu_that_hangs_ends_the_wait_and_is_put_away(vm_factory: VmFactory) -> None:
    vm = vm_factory(probe=False, net="none")
    number = qemu_of(vm)
    os.kill(number, signal.SIGSTOP)
    with pytest.raises(VmError, match="did not come within"):
        vm.wait_console(NEVER, within=0.5)
    vm.__exit__(None, None, None)
    assert not Path(f"/proc/{number}").exists()


def test_a_port_that_somebody_has_is_named(vm_factory: VmFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(VmError) as caught:
            vm_factory(probe=False, forwards=[Forward(80, port)])
    assert caught.value.hint == "another program has that port; choose another, or none and let one be chosen"
    assert any(str(port) in line for line in caught.value.details)


@pytest.mark.vm(config=DEMO, memory=1024)
def test_a_probe_that_is_killed_comes_back(vm: Machine) -> None:
    before = vm.unit(PROBE_UNIT)["MainPID"]
    # Its own child kills it while it waits for that: it never gets to answer.
    with pytest.raises(VmError, match="the probe was started again before it answered"):
        vm.run("sh", "-c", f"kill -KILL {before}")
    assert vm.unit(PROBE_UNIT)["MainPID"] not in (before, "0")


INTERRUPTED = """
def test_waits(vm_factory):
    vm_factory(probe=False, net="none").wait_console("a line that no guest writes")
"""


def test_an_interrupted_run_leaves_no_machine(tmp_path: Path, demo: Path) -> None:
    (tmp_path / "test_waits.py").write_text(INTERRUPTED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    options = ["--build-json", str(demo), str(tmp_path)]
    run = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while processes_of(tmp_path) == [] and run.poll() is None:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=600)  # only so that a run which hangs ends
    assert "KeyboardInterrupt" in said
    assert processes_of(tmp_path) == []
    assert list(tmp_path.rglob("disk*")) == []
