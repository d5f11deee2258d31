"""Where things are on the machine. A value, so that a test can put a whole machine into a directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from firstboot.apply.programs import ProgramError, Programs
from firstboot.config.machine_words import ETC_UPPER
from firstboot.config.named_tuple import NamedTuple
from firstboot.fetch.connector import Connector
from firstboot.restart import restart

if TYPE_CHECKING:
    from firstboot.apply.root import Root

STATE = "/run/state"
ATTEMPT = "/run/state/firstboot/attempt"
MARKER = "/run/state/firstboot/complete"
RESET = "/run/state/firstboot/factory-reset"
TO_DELETE = "/run/state/firstboot/config-to-delete"
WITNESS = "/run/state/provisioned"
STATE_VAR = "/run/state/var"
OWN_VAR = f"{ETC_UPPER}/systemd/system/var.mount"
FIRST_BOOT = "/run/build-os/first-boot"
RUN_DIRECTORY = "/run/firstboot"
RESULT = f"{RUN_DIRECTORY}/result.json"
FAILURE = f"{RUN_DIRECTORY}/failure.txt"
SHELL_ALLOWED = f"{RUN_DIRECTORY}/shell"
KEPT_RESULT = "/var/lib/firstboot/result.json"
APPLIED = "/var/lib/firstboot/applied.json"
UNDO = "/var/lib/firstboot/undo"
KEPT_HASH = "/var/lib/firstboot/config.sha256"
BASE_DIRECTORY = "/usr/lib/firstboot/base.d"


class Places(NamedTuple):
    """The machine as first boot sees it.

    Attributes:
        root: the directory that becomes ``/``; the paths above are inside it.
        programs: how programs are started.
        connector: the way to other machines, and the clock.
        restart: starts the machine again; returns once it is on its way.
    """

    root: Path = Path("/")
    programs: Programs = Programs()
    connector: Connector = Connector()
    restart: Callable[[], None] = restart

    @property
    def sys(self) -> Path:
        """sysfs."""
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        """Devices."""
        return self.root / "dev"

    def locate(self, path: str) -> Path:
        """A path inside the root, for reading."""
        return self.root / path.lstrip("/")

    def read_command_line(self) -> str:
        """The kernel's command line; empty where there is none. A conformance runner gives one of its own."""
        given = os.environ.get("IGNITION_KERNEL_CMDLINE_PATH")
        try:
            return (Path(given) if given else self.locate("/proc/cmdline")).read_text(
                encoding="utf-8", errors="replace"
            )
        except OSError:
            return ""

    def load_module(self, name: str) -> None:
        """Load a kernel module; that it is not there shows soon enough."""
        with contextlib.suppress(ProgramError):
            self.programs.run_for_status(["modprobe", "--quiet", name])

    def read_image_identity(self) -> dict[str, str]:
        """``{"id": ..., "version": ...}`` of the image: ``IMAGE_ID``, ``IMAGE_VERSION`` (os-release(5))."""
        values: dict[str, str] = {}
        for path in ("/etc/os-release", "/usr/lib/os-release"):
            try:
                text = self.locate(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            for line in text.splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    values.setdefault(name.strip(), value.strip().strip("'\""))
            break
        return {"id": values.get("IMAGE_ID", ""), "version": values.get("IMAGE_VERSION", "")}


def has_own_var(root: Root) -> bool:
    """Whether this machine mounts a ``/var`` of its own, by a unit that a config has brought: what the initrd goes by.

    Raises:
        OSError: that cannot be seen.
    """
    unit = root.see(OWN_VAR).stat
    return unit is not None and stat.S_ISREG(unit.st_mode) and unit.st_size > 0
