"""Two output directories, file by file: what is the same and what is not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.core.errors import BuildError
from builder.core.files import hash_file
from builder.outputs.manifest import LOCAL, read_manifest


@dataclass(frozen=True)
class Built:
    """A finished build: its ``build.json`` and what that says."""

    manifest: Path
    data: dict[str, Any]

    @classmethod
    def read(cls, manifest: Path) -> Built:
        """Read a manifest.

        Raises:
            BuildError: there is none.
        """
        data = read_manifest(manifest)
        if data is None:
            raise BuildError(f"the build left no readable {manifest}")
        return cls(manifest, data)

    @property
    def artifacts(self) -> dict[str, Path]:
        """The artifacts' files by name."""
        return {kind: self.manifest.parent / a["path"] for kind, a in self.data["artifacts"].items()}

    def collect_hashes(self, *, fresh: bool) -> dict[str, str]:
        """SHA-256 of everything that must repeat, by name. Unless the build is ``fresh``, its files are hashed again.

        The root's is its verity root hash, which no bit of the EROFS image can change without changing it. Of
        ``build.json`` it is what does not speak of the machine and the hour (:data:`LOCAL`).
        """
        if fresh:
            hashes = {kind: artifact["sha256"] for kind, artifact in self.data["artifacts"].items()}
        else:
            hashes = {kind: hash_file(path) for kind, path in self.artifacts.items()}
        if self.data["roothash"]:
            hashes["root"] = self.data["roothash"]
        portable = {name: value for name, value in self.data.items() if name not in LOCAL}
        hashes["build.json"] = hashlib.sha256(json.dumps(portable, sort_keys=True).encode()).hexdigest()
        return hashes


@dataclass(frozen=True)
class Compared:
    """A name and its hash in both builds; ``None`` where a build does not have it."""

    name: str
    first: str | None
    second: str | None

    @property
    def same(self) -> bool:
        """Whether both are equal."""
        return self.first == self.second


def compare(first: Built, second: Built) -> list[Compared]:
    """Every artifact of either build; the second was made just now."""
    one, other = first.collect_hashes(fresh=False), second.collect_hashes(fresh=True)
    return [Compared(name, one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])]


def find_manifest_differences(first: Built, second: Built) -> list[str]:
    """The fields of ``build.json`` that must repeat and do not; those of the artifacts are reported by themselves."""
    names = dict.fromkeys([*first.data, *second.data])
    return [
        name
        for name in names
        if name not in (*LOCAL, "artifacts", "roothash", "command_line")
        and first.data.get(name) != second.data.get(name)
    ]
