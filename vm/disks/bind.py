"""A directory of the host in a guest: copied into a read-only image, which the guest mounts.

Not shared while both look at it: that needs drivers (9p, virtiofs) which Debian's cloud kernels do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from builder.core.errors import InputError
from builder.core.tools import Tools
from firstboot.config.butane.mounts import escape
from vm.guest.credentials import Credential, write_credentials
from vm.spec import Credentials, Disk, VmSpec
from vm.spec.folder import MachineFolder

HINT = "write DIR:PATH, like ./data:/run/data"


@dataclass(frozen=True)
class Bind:
    """``source`` on the host, to be seen at ``path`` in the guest."""

    source: Path
    path: str


def parse_bind(text: str) -> Bind:
    """``DIR:PATH``.

    Raises:
        InputError: it is not of that form, or the guest's root is read-only there.
    """
    source, _, path = text.rpartition(":")
    if not Path(source).is_dir():
        raise InputError(f"'{source}' is no directory", hint=HINT)
    parts = PurePosixPath(path).parts
    if parts[:2] not in (("/", "run"), ("/", "var")) or len(parts) < 3 or ".." in parts:
        raise InputError(
            f"nothing can be mounted at '{path}': the root is read-only", hint="take a path below /run or /var"
        )
    return Bind(Path(source).absolute(), str(PurePosixPath(path)))


def add_binds(spec: VmSpec, binds: Sequence[Bind], tools: Tools, folder: MachineFolder) -> VmSpec:
    """A machine that mounts copies of these directories before its services start.

    Raises:
        InputError: the image does not let itself be told to. ToolError: a directory cannot be read.
    """
    if spec.takes is Credentials.REFUSED:
        raise InputError(
            f"{spec.name} is signed and takes no credentials, and directories are mounted by them",
            hint="add --kernel, or mount a --disk by the first-boot config",
        )
    disks: list[Disk] = []
    credentials: list[Credential] = []
    for number, bind in enumerate(binds):
        image = folder.root / f"bind{number}.erofs"
        tools.run("mkfs.erofs", "--quiet", "-zlz4", image, bind.source)
        disks.append(Disk(image, format="raw", read_only=True, serial=f"bind{number}"))
        unit = f"{escape(bind.path)}.mount"
        device = f"/dev/disk/by-id/virtio-bind{number}"
        text = f"[Mount]\nWhat={device}\nWhere={bind.path}\nType=erofs\nOptions=ro,nodev,nosuid\n"
        credentials += [
            Credential(f"systemd.extra-unit.{unit}", text.encode()),
            Credential(f"systemd.unit-dropin.local-fs.target~50-bind{number}", f"[Unit]\nWants={unit}\n".encode()),
        ]
    files = write_credentials(credentials, folder.root / "binds")
    return replace(spec, disks=(*spec.disks, *disks), credentials=(*spec.credentials, *files))
