"""What was built, as ``build.json`` tells it: the only way in which this package knows an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from builder.core.errors import InputError

SCHEMA = 1
BUILD_JSON = "build.json"
CERTIFICATE = "certificate"
EXTENSION = "extension"
# What QEMU can boot from as it is, the smaller one first.
BOOTABLE = ("qcow2", "raw")

_WHICH = f"name the {BUILD_JSON} that 'build-os build' prints, by default out/{BUILD_JSON}"

DiskFormat = Literal["qcow2", "raw"]


@dataclass(frozen=True)
class Artifact:
    """One file that a build made. ``size`` in bytes."""

    path: Path
    format: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Extends:
    """What an extension is made for: the system's name, and the key of its tree, which is that of one build exactly.

    Attributes:
        type: ``sysext`` or ``confext``.
        description: what a machine gains by it.
    """

    name: str
    tree: str
    type: str
    description: str


@dataclass(frozen=True)
class Image:
    """A built image. All paths are absolute; ``tools`` is the root of the tools tree that built it.

    ``definition`` is what it was built of, as it was named then. ``tree`` is the key of a system's tree, ``signed_by``
    the SHA-256 of the certificate of whom signed it, and ``extends`` what an extension is made for.
    """

    name: str
    version: str
    arch: str
    features: tuple[str, ...]
    command_line: str
    roothash: str
    tools: Path
    directory: Path
    artifacts: Mapping[str, Artifact]
    definition: Path | None = None
    tree: str = ""
    signed_by: str = ""
    extends: Extends | None = None

    def require_artifact(self, kind: str) -> Artifact:
        """The artifact of this kind (``raw``, ``uki``, ``kernel`` ...).

        Raises:
            InputError: it was not built, or its file is gone or was cut short.
        """
        artifact = self.artifacts.get(kind)
        if artifact is None:
            built = ", ".join(sorted(self.artifacts)) or "nothing"
            raise InputError(
                f"{self.name} was built without '{kind}'",
                details=(f"{self.directory / BUILD_JSON} lists: {built}",),
                hint=f"add '{kind}' to the definition's output formats and build again",
            )
        try:
            size = artifact.path.stat().st_size
        except OSError as error:
            raise InputError(
                f"cannot read {artifact.path}: {error.strerror}", hint="run 'build-os build' again"
            ) from error
        if size != artifact.size:
            raise InputError(
                f"{artifact.path} is not what {BUILD_JSON} says: {size} bytes instead of {artifact.size}",
                hint="run 'build-os build' again; if you booted it read-write by hand, that is what changed it",
            )
        return artifact

    @property
    def certificate(self) -> Path | None:
        """Whose key signed what the firmware starts; ``None`` if nobody's did.

        Raises:
            InputError: the file is gone, or was cut short.
        """
        return self.require_artifact(CERTIFICATE).path if CERTIFICATE in self.artifacts else None

    def choose_disk(self) -> tuple[Path, DiskFormat]:
        """The disk image to boot from, and its format.

        Raises:
            InputError: none was built in a format that QEMU boots.
        """
        for kind in BOOTABLE:
            if kind in self.artifacts:
                return self.require_artifact(kind).path, "qcow2" if kind == "qcow2" else "raw"
        self.require_artifact(BOOTABLE[0])
        raise AssertionError("unreachable: artifact() raises for what is not listed")


class _Artifact(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    path: str
    size: int
    sha256: str
    format: str | None = None


class _Build(BaseModel):
    """The part of the contract that is read here; a writer may say more."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
    name: str
    version: str
    arch: str
    features: list[str] = []
    command_line: str = ""
    roothash: str = ""
    tools: str
    artifacts: dict[str, _Artifact]
    definition: str | None = None
    tree: str = ""
    signed_by: str = ""
    extends: Extends | None = None


def read_image(path: Path) -> Image:
    """Read ``build.json``; ``path`` is the file or the directory it lies in.

    Raises:
        InputError: it is missing, not JSON, of another schema, or lacks something.
    """
    file = path / BUILD_JSON if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {file}",
            hint="build the image first: 'build-os build' prints the path of its build.json",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a {BUILD_JSON}, but no text at all", hint=_WHICH) from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    _require_schema(file, text)
    try:
        build = _Build.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{file} was not written by 'build-os build', or was edited",
            details=[f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()],
            hint="run 'build-os build' again",
        ) from error
    directory = file.absolute().parent
    return Image(
        name=build.name,
        version=build.version,
        arch=build.arch,
        features=tuple(build.features),
        command_line=build.command_line,
        roothash=build.roothash,
        tools=Path(build.tools),
        directory=directory,
        artifacts={
            kind: Artifact(directory / entry.path, entry.format or kind, entry.size, entry.sha256)
            for kind, entry in build.artifacts.items()
        },
        definition=None if build.definition is None else Path(build.definition),
        tree=build.tree,
        signed_by=build.signed_by,
        extends=build.extends,
    )


def _require_schema(file: Path, text: str) -> None:
    """Say "too new" or "not ours" before the model lists twenty missing keys."""

    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise InputError(f"{file} is not a {BUILD_JSON}: it is not JSON ({error})", hint=_WHICH) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema is None:
        raise InputError(f"{file} is not a build.json of build-os: it has no 'schema'")
    if schema != SCHEMA:
        raise InputError(
            f"{file} has schema {schema!r}, and this build-os reads schema {SCHEMA}",
            hint="run the image with the build-os that built it, or build it again with this one",
        )
