"""Run a script in a guest, over as many reboots as it asks for.

A script runs as root in a transient unit, with a directory of its own to work in that survives reboots
(``AUTOPKGTEST_TMP``), and with what lies in ``data/`` beside it (``TEST_DATA``). To reboot, it uses autopkgtest's
interface (README.package-tests, "Reboot"): ``/tmp/autopkgtest-reboot MARK`` ends it, and it is started again after
the reboot with ``AUTOPKGTEST_REBOOT_MARK=MARK``; ``/tmp/autopkgtest-reboot-prepare MARK`` announces a reboot that the
script does by itself.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import VmError
from vm.machine import Machine

SKIPPED = 77
HOME = "/var/tmp/build-os-test"
MARK = f"{HOME}/reboot-mark"
UNIT = "build-os-test.service"
REBOOTS = 20  # a script that always asks for one more is broken

UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1], filter='tar')"
ANNOUNCE = """\
#!/bin/sh
[ $# -eq 1 ] || {{ echo "usage: $0 MARK" >&2; exit 1; }}
printf '%s %s' {how} "$1" > {mark}
sync
"""
PREPARE = ANNOUNCE.format(how="prepare", mark=MARK)
REBOOT = f"{ANNOUNCE.format(how='reboot', mark=MARK)}systemctl kill --signal=KILL {UNIT}\nsleep 60\n"


@dataclass(frozen=True)
class Ending:
    """How a script ended, and all that it wrote."""

    status: int
    output: str

    @property
    def last_line(self) -> str:
        """The last thing it said."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def run_script(machine: Machine, script: Path) -> Ending:
    """Run ``script`` in the guest until it ends by itself.

    Raises:
        VmError: the machine does not do what it should, the script does not end before the machine's deadline, or it
            reboots without end.
    """
    said = ""
    mark = ""
    for _ in range(REBOOTS):
        install_script(machine, script)
        result = machine.run_until_reboot(*make_command(script, mark))
        announced = None if result is None else machine.run_until_reboot("cat", MARK)
        if result is not None:
            said += result.stdout + result.stderr
            if announced is not None and announced.status != 0:
                return Ending(result.status, said)
        if announced is not None and announced.stdout.startswith("reboot "):
            machine.reboot()
        else:
            machine.wait_reboot()
        machine.wait_unit("multi-user.target")
        mark = take_mark(machine, script)
        said += f"--- rebooted, mark {mark}\n"
    raise VmError(f"{script.name} has rebooted the machine {REBOOTS} times and wants more")


def make_command(script: Path, mark: str) -> list[str]:
    """How it is started: in a unit of its own, so that nothing it leaves behind outlives it."""
    environment = {"AUTOPKGTEST_TMP": f"{HOME}/tmp", "TEST_DATA": f"{HOME}/data", "AUTOPKGTEST_REBOOT_MARK": mark}
    return [
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        f"--unit={UNIT}",
        f"--working-directory={HOME}/tmp",
        *(f"--setenv={name}={value}" for name, value in environment.items() if value),
        f"{HOME}/{script.name}",
    ]


def install_script(machine: Machine, script: Path) -> None:
    """Put the script, its data and the two commands for rebooting into the guest."""
    machine.succeed("mkdir", "-p", f"{HOME}/tmp", f"{HOME}/data")
    machine.succeed("python3", "-c", UNPACK, HOME, stdin=make_bundle(script))
    for name, text in (("autopkgtest-reboot", REBOOT), ("autopkgtest-reboot-prepare", PREPARE)):
        machine.write(f"/tmp/{name}", text, 0o755)


def make_bundle(script: Path) -> bytes:
    """A tar of the script and, where there is one, of the directory ``data`` beside it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for source in (script, script.parent / "data"):
            if source.exists():
                tar.add(source, source.name, filter=_roots)
    return stream.getvalue()


def _roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def take_mark(machine: Machine, script: Path) -> str:
    """What the script wants to be told after this reboot.

    Raises:
        VmError: it has not announced any.
    """
    result = machine.run("cat", MARK)
    if result.status != 0:
        raise VmError(
            f"the machine rebooted while {script.name} ran, which had not announced it",
            hint="call /tmp/autopkgtest-reboot-prepare MARK before",
        )
    machine.succeed("rm", MARK)
    return result.stdout.partition(" ")[2]
