"""What is worth keeping of a machine whose test has failed, asked for while it can still answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from builder.core.errors import VmError
from builder.core.files import write_file
from vm.machine import Machine
from vm.waiting.deadline import Deadline

EXPORT = "/run/build-os-journal.export.gz"
EXPORT_PROGRAM = f"""\
import gzip, subprocess
said = subprocess.run(["journalctl", "-q", "-b", "-o", "export"], stdout=subprocess.PIPE, check=True).stdout
open("{EXPORT}", "wb").write(gzip.compress(said, 6))
"""


def collect(machine: Machine) -> None:
    """Write the journal (``journalctl --file`` reads it after systemd-journal-remote(8)), the boot as a chart
    (systemd-analyze(1)), what has failed and, where there is one, the screen into the machine's folder.

    What cannot be had is left out: the machine may be dead, which is why somebody looks.
    """
    if machine.is_off:
        return
    for piece, seconds in PIECES.items():
        if machine.spec.video if piece is _screen else machine.probe.hello is not None:
            machine.deadline = Deadline(seconds, machine.deadline.scale)  # the test's own may be over
            with suppress(VmError, OSError):
                piece(machine)


def _journal(machine: Machine) -> None:
    machine.succeed("python3", "-c", EXPORT_PROGRAM)
    data = machine.probe.read(EXPORT, machine.deadline)
    write_file(machine.folder.journal, data, mode=0o600)
    machine.succeed("rm", EXPORT)


def _chart(machine: Machine) -> None:
    write_file(machine.folder.boot_chart, machine.succeed("systemd-analyze", "plot"))


def _failed(machine: Machine) -> None:
    said = machine.succeed("systemctl", "--no-pager", "--failed", "--full")
    jobs = machine.succeed("systemctl", "--no-pager", "--full", "list-jobs")
    write_file(machine.folder.units, f"{said}\n\n{jobs}\n")


def _screen(machine: Machine) -> None:
    machine.screenshot()


# What each may take, in seconds with KVM: a broken machine must not hold up the rest. What takes longest comes last: a
# guest that does not answer to it in time may not answer to anything any more.
PIECES: Mapping[Callable[[Machine], None], float] = {_screen: 2.0, _failed: 3.0, _chart: 8.0, _journal: 5.0}
