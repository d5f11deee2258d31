"""``build.json``: what a build made, for programs. The VM harness knows images by this file alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.core import seen
from builder.core.files import hash_file, write_file
from builder.core.image import Extends
from builder.outputs.registers import Registers

SCHEMA = 1
FILE = "build.json"
# What a manifest says of the machine and the hour of the build; all else repeats with the build.
LOCAL = ("definition", "tools", "timings")


@dataclass(frozen=True)
class Artifact:
    """One file of a build. ``path`` is relative to the manifest, ``size`` in bytes."""

    path: str
    size: int
    sha256: str
    format: str

    @classmethod
    def measure(cls, path: Path, kind: str) -> Artifact:
        """Describe a file that is there."""
        return cls(path.name, path.stat().st_size, hash_file(path), kind)


@dataclass
class Timings:
    """Seconds, by phase."""

    lock: float = 0.0
    fetch: float = 0.0
    tools: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Everything ``build.json`` says.

    Attributes:
        key: of all inputs: a build with the same key makes the same artifacts.
        signed_by: the SHA-256 of the certificate (DER) whose key signed what firmware starts; empty if nobody's did.
        registers: what a signed image leaves in a TPM, by :func:`builder.outputs.registers.compute_registers`.
        scripts: what the definition decided about maintainer scripts: package -> ``ignore``, ``effects``, ``sandbox``.
        tree: of a system, the key of its finished tree: an extension is made for one.
        extends: of an extension.
    """

    name: str
    version: str
    arch: str
    features: tuple[str, ...]
    definition: str
    lock_sha256: str
    source_date_epoch: int
    roothash: str
    command_line: str
    tools: str
    key: str
    artifacts: Mapping[str, Artifact]
    scripts: Mapping[str, str]
    timings: Timings
    signed_by: str = ""
    registers: Registers = field(default_factory=dict)
    tree: str = ""
    extends: Extends | None = None

    def write(self, path: Path) -> None:
        """Replace the file. All it names must be durable before: who finds it takes the artifacts for whole."""
        write_file(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", durable=True)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest as plain data, or ``None`` if there is none of this schema."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("schema") == SCHEMA else None


def is_current(path: Path, key: str) -> bool:
    """Whether the manifest is for this key and all its artifacts are there, each with its size and as old as it."""
    data = read_manifest(path)
    if data is None or data.get("key") != key:
        return False
    try:
        written = path.stat().st_mtime_ns
        for artifact in data["artifacts"].values():
            seen.note(path.parent / artifact["path"])
            status = (path.parent / artifact["path"]).stat()
            # Somebody who boots an artifact read-write changes its time.
            if status.st_size != artifact["size"] or status.st_mtime_ns > written:
                return False
        tools = Path(data["tools"])
        seen.note(tools)
        return tools.name != "" and tools.is_dir()  # an empty path is where we are
    except (OSError, ValueError, TypeError, LookupError, AttributeError):  # gone, or edited into something else
        return False
