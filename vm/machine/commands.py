"""What is done inside the guest, through the probe that runs there (:mod:`vm.guest.probe`)."""

from __future__ import annotations

from builder.core.errors import VmError
from vm.guest.probe_client import Result
from vm.machine.waits import WaitingMachine
from vm.waiting.wait import is_hidden

__tracebackhide__ = is_hidden
JOURNAL_SECONDS = 20.0


class CommandedMachine(WaitingMachine):
    """A machine whose guest runs programs, reads and writes files, and is asked for units and its journal."""

    def run(self, *argv: str, stdin: bytes = b"", within: float | None = None) -> Result:
        """Run a program as root. A single argument is split into words; no shell is involved."""
        return self.probe.run(argv, self._deadline(within), stdin)

    def run_until_reboot(self, *argv: str, within: float | None = None) -> Result | None:
        """Run a program that may reboot the machine; None if that is what happened (:meth:`wait_reboot` comes next)."""
        return self.probe.run_unless(self._reset_seen, argv, self._deadline(within))

    def succeed(self, *argv: str, stdin: bytes = b"", within: float | None = None) -> str:
        """Run a program that must succeed; returns its output without the last newline.

        Raises:
            VmError: it failed.
        """
        result = self.run(*argv, stdin=stdin, within=within)
        if result.status != 0:
            raise VmError(
                f"{' '.join(result.argv)} failed in the guest with status {result.status}",
                details=_said(result),
            )
        return result.stdout.removesuffix("\n")

    def fail(self, *argv: str, within: float | None = None) -> Result:
        """Run a program that must fail.

        Raises:
            VmError: it succeeded.
        """
        result = self.run(*argv, within=within)
        if result.status == 0:
            raise VmError(f"{' '.join(result.argv)} succeeded in the guest, and should not", details=_said(result))
        return result

    def read(self, path: str) -> str:
        """A file's content, as text."""
        return self.probe.read(path, self.deadline).decode("utf-8", errors="replace")

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file."""
        self.probe.write(path, data.encode() if isinstance(data, str) else data, self.deadline, mode)

    def unit(self, name: str) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` gives them."""
        return self.probe.show_unit(name, self.deadline)

    def journal(self, *arguments: str, boot: bool = True) -> list[str]:
        """Lines of the journal (``journalctl(1)``), by default of this boot: ``journal("-u", "ssh.service")``."""
        which = ("-b",) if boot else ()
        return self.succeed("journalctl", "-q", "--no-pager", "-o", "short-monotonic", *which, *arguments).splitlines()

    def scan_journal(self) -> None:
        """Look for bad signs in what the journal has got since the last look; they are told by :attr:`sightings`.

        Raises:
            VmError: the machine cannot be asked.
        """
        if self.probe.hello is None or self.is_off:
            raise VmError("the machine does not run its probe")
        since = ("--after-cursor", self._cursor) if self._cursor else ("-b",)
        command = ("journalctl", "-q", "--no-pager", "-o", "cat", "--show-cursor", *since)
        *lines, cursor = self.succeed(*command, within=JOURNAL_SECONDS).splitlines() or [""]
        if cursor.startswith("-- cursor: "):
            self._cursor = cursor.removeprefix("-- cursor: ")
        self.transcript.take_journal(lines)


def _said(result: Result) -> tuple[str, ...]:
    return (*result.stdout.splitlines()[-20:], *result.stderr.splitlines()[-20:])
