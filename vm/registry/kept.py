"""Machines whose disks stay when they are off, by name: made once, started and stopped as often as somebody likes.

Each is a folder in the user's own data, not among what builds make, which everybody deletes: its disk (a copy of the
image, which may be built anew meanwhile), the firmware's variables, the TPM's memory, the config, and ``machine.json``,
which says how to start it. A folder without that file is what a machine left that never became one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.files import write_file
from builder.core.image import Image
from builder.core.locks import hold_lock
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder


@dataclass(frozen=True)
class KeptMachine:
    """What is written down of a machine.

    Attributes:
        image, version, roothash: of the image that it was made of; it stays that one's.
        build_json: where that image was described when the machine was made.
        tools: the tools tree that built it.
        spec: how to start it, with everything at its place in the machine's folder.
        user, key: for ssh.
    """

    name: str
    image: str
    version: str
    roothash: str
    build_json: Path
    tools: Path
    spec: VmSpec
    user: str | None = None
    key: Path | None = None

    @classmethod
    def describe(cls, spec: VmSpec, image: Image, build_json: Path, user: str | None, key: Path | None) -> KeptMachine:
        """Describe a machine that has been made of an image."""
        made_of = (image.name, image.version, image.roothash)
        return cls(spec.name, *made_of, build_json.absolute(), image.tools, spec, user, key)

    @property
    def made_of(self) -> str:
        """Its image, in words."""
        return f"{self.image} {self.version}"


_KEPT = TypeAdapter(KeptMachine)


def locate_kept_machines(environment: Mapping[str, str]) -> Path:
    """Where they are: ``build-os/machines`` below ``$XDG_DATA_HOME``, by default ``~/.local/share``."""
    data = environment.get("XDG_DATA_HOME")
    return (Path(data) if data else Path(environment.get("HOME", "/")) / ".local/share") / "build-os" / "machines"


@dataclass(frozen=True)
class KeptMachines:
    """The kept machines below a directory."""

    root: Path

    def locate_folder(self, name: str) -> MachineFolder:
        """Where the machine of this name is, or would be.

        Raises:
            InputError: it cannot be the name of one.
        """
        require_name(name)
        return MachineFolder(self.root / name)

    def list_names(self) -> list[str]:
        """Of all, sorted."""
        return sorted(path.parent.name for path in self.root.glob("*/machine.json")) if self.root.is_dir() else []

    def find(self, name: str | None = None) -> KeptMachine:
        """The machine of this name; without a name, the only one.

        Raises:
            InputError: there is none, or there are several.
        """
        if name is not None:
            folder = self.locate_folder(name)
            if folder.is_kept:
                return self._read(folder)
        names = self.list_names()
        if name is None and len(names) == 1:
            return self.find(names[0])
        if not names:
            what = "no machine is kept" if name is None else f"no machine named {name} is kept"
            raise InputError(what, hint="'build-os run --keep --name NAME' makes one")
        what = "which machine?" if name is None else f"no machine named {name} is kept"
        raise InputError(what, hint=f"kept: {', '.join(names)}")

    def has(self, name: str) -> bool:
        """Whether one of this name is kept."""
        return self.locate_folder(name).is_kept

    def add(self, machine: KeptMachine) -> None:
        """From now on, the machine's disks stay. The config may hold secrets: nobody else reads any of it."""
        data = _KEPT.dump_json(machine, indent=2)
        write_file(self.locate_folder(machine.name).kept, data + b"\n", mode=0o600)

    def remove(self, name: str) -> None:
        """Delete a machine with everything on its disks. It must be off."""
        folder = self.locate_folder(name)
        folder.kept.unlink(missing_ok=True)  # first: what is left of it after a power cut is no machine
        shutil.rmtree(folder.root, ignore_errors=True)

    def lock(self, name: str, console: Console) -> AbstractContextManager[None]:
        """Nobody else makes, starts or removes the machine of this name meanwhile."""
        require_name(name)
        return hold_lock(self.root / f".{name}.lock", console, f"using the machine {name}")

    def _read(self, folder: MachineFolder) -> KeptMachine:
        try:
            return _KEPT.validate_json(folder.kept.read_bytes())
        except (OSError, ValidationError) as error:
            raise InputError(
                f"cannot use {folder.kept}: it is not what this build-os writes",
                details=(str(error).splitlines()[0],),
                hint=f"its disk is {folder.locate_disk(0)}; 'build-os machine rm {folder.root.name}' deletes it",
            ) from error


def make_keepable(spec: VmSpec) -> VmSpec:
    """The same machine with disks that need nothing but themselves.

    Raises:
        InputError: it is started from files that the next build replaces.
    """
    if spec.kernel is not None:
        raise InputError(
            "a machine that is kept starts from its own disk, not from a kernel beside it",
            hint="leave out --kernel or --keep",
        )
    return replace(spec, disks=tuple(disk if disk.read_only else replace(disk, kept=True) for disk in spec.disks))


def require_disks(machine: KeptMachine) -> None:
    """All that the machine has written must be there, or it would be given empty disks.

    Raises:
        InputError: a file is gone.
    """
    for path in (disk.path for disk in machine.spec.disks):
        if not path.exists():
            raise InputError(
                f"a disk of {machine.name} is gone: {path}",
                hint=f"'build-os machine rm {machine.name}' removes the rest",
            )


def require_name(name: str) -> None:
    """Names are file names.

    Raises:
        InputError: this cannot be one.
    """
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"'{name}' cannot be the name of a machine", hint="use letters, digits and dashes")
