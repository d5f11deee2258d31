"""The folder of one machine: what it writes, and what is left to read when something went wrong."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import CapabilityError

LAST_LINES = 10


@dataclass(frozen=True)
class MachineFolder:
    """Names inside a machine's folder."""

    root: Path

    @property
    def serial_log(self) -> Path:
        """The serial line, one line each with seconds since power-on."""
        return self.root / "serial.log"

    @property
    def qemu_log(self) -> Path:
        """What QEMU itself said."""
        return self.root / "qemu.log"

    @property
    def firstboot_result(self) -> Path:
        """The first boot's last event."""
        return self.root / "firstboot-result.json"

    @property
    def journal(self) -> Path:
        """The journal of a failed test's last boot (systemd.journal-fields(7), "Journal Export Formats"), gzipped."""
        return self.root / "journal.export.gz"

    @property
    def boot_chart(self) -> Path:
        """Which unit was started when, as SVG."""
        return self.root / "boot.svg"

    @property
    def units(self) -> Path:
        """Units that have failed, and jobs that still wait."""
        return self.root / "units.txt"

    @property
    def screenshot(self) -> Path:
        """The screen, where there is one."""
        return self.root / "screen.png"

    @property
    def variables(self) -> Path:
        """The firmware's variables."""
        return self.root / "variables.fd"

    @property
    def tpm(self) -> Path:
        """What its TPM remembers."""
        return self.root / "tpm"

    @property
    def credentials(self) -> Path:
        """One file a credential; removed with the disks."""
        return self.root / "credentials"

    @property
    def monitor(self) -> Path:
        """The monitor socket of a machine that runs on without us."""
        return self.root / "monitor.sock"

    @property
    def console(self) -> Path:
        """The socket of its serial line, likewise; one at a time may be connected."""
        return self.root / "console.sock"

    @property
    def kept(self) -> Path:
        """What the machine is made of, if its disks are to stay when it is off (:mod:`vm.registry.kept`)."""
        return self.root / "machine.json"

    @property
    def is_kept(self) -> bool:
        """Whether its disks stay."""
        return self.kept.exists()

    @property
    def config(self) -> Path:
        """The first-boot configuration that was given."""
        return self.root / "firstboot-config"

    def locate_disk(self, number: int) -> Path:
        """The file that QEMU writes for a disk."""
        return self.root / f"disk{number}.qcow2"

    def create(self) -> None:
        """Make the folder; what an earlier machine left in it goes.

        Raises:
            CapabilityError: it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.clear_state()
            for path in (self.serial_log, self.qemu_log, self.firstboot_result):
                path.unlink(missing_ok=True)
            self.forget_failure()
        except OSError as error:
            raise CapabilityError(f"cannot use {self.root} for a machine: {error.strerror}") from error

    def clear_state(self) -> None:
        """Remove disks, firmware variables, the TPM's memory and credentials, unless they are kept; logs stay."""
        for path in (self.monitor, self.console):
            path.unlink(missing_ok=True)
        if self.is_kept:
            return
        for directory in (self.credentials, self.tpm):
            shutil.rmtree(directory, ignore_errors=True)
        for path in self.list_state_files():
            path.unlink(missing_ok=True)

    def forget_failure(self) -> None:
        """Remove what was collected when an earlier test failed."""
        for path in (self.journal, self.boot_chart, self.units, self.screenshot):
            path.unlink(missing_ok=True)

    def list_state_files(self) -> tuple[Path, ...]:
        """What the machine itself writes, and needs to go on: disks and firmware variables."""
        return tuple(path for path in (*sorted(self.root.glob("disk*.qcow2")), self.variables) if path.exists())

    def copy_logs(self, target: Path) -> MachineFolder:
        """Copy what there is to read into another folder."""
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        for _, path in self._named():
            (target / path.name).unlink(missing_ok=True)
            if path.exists():
                shutil.copy2(path, target)
        return MachineFolder(target)

    def list_logs(self) -> tuple[str, ...]:
        """Lines that name what there is to read."""
        return tuple(f"{what}: {path}" for what, path in self._named() if path.exists() and path.stat().st_size)

    def _named(self) -> tuple[tuple[str, Path], ...]:
        return (
            ("serial line", self.serial_log),
            ("QEMU", self.qemu_log),
            ("first boot", self.firstboot_result),
            ("journal", self.journal),
            ("boot chart", self.boot_chart),
            ("failed units", self.units),
            ("screen", self.screenshot),
        )

    def read_qemu_log(self) -> tuple[str, ...]:
        """QEMU's last lines."""
        with contextlib.suppress(OSError):
            return tuple(self.qemu_log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
        return ()
