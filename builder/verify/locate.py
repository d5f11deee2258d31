"""Where two builds differ: artifact, partition or section, file, package and stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.files import hash_file
from builder.core.pe import Section, read_sections
from builder.core.tools import Tools
from builder.products.catalogue import PRODUCTS
from builder.products.product import Part
from builder.verify.artifacts import TABLES, find_differing, read_members, read_partitions
from builder.verify.compare import Built, Compared, find_manifest_differences
from builder.verify.records import Change

SAME_TREES = "the trees are the same; they were written differently"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in two builds.

    Attributes:
        part: the partition of a disk, the section of a PE file.
        path: a file in it.
        what: which of its properties differ.
        origin: who put the file there: ``package:NAME``, ``overlay:NAME``, ``stage:NAME``.
        stage: the first stage, or the output, after which it differs.
    """

    artifact: str
    part: str = ""
    path: str = ""
    what: str = ""
    origin: str = ""
    stage: str = ""

    def __str__(self) -> str:
        where = ": ".join(word for word in (self.artifact, self.part, self.path) if word)
        tail = [self.what, self.origin and f"from {self.origin}", self.stage and f"in stage {self.stage}"]
        return f"{where}: " + ", ".join(word for word in tail if word)


@dataclass(frozen=True)
class Locator:
    """Takes artifacts of two builds apart.

    Attributes:
        changes: what differs in the trees; ``None`` if that is not known.
        scratch: a directory for pieces.
    """

    first: Built
    second: Built
    changes: Sequence[Change] | None
    tools: Tools
    scratch: Path

    def list_differences(self, compared: Sequence[Compared]) -> list[Difference]:
        """All differences, each once: a UKI that is also on the disk is taken apart as an artifact."""
        names = [row.name for row in compared if not row.same]
        differences = []
        disks = [name for name in names if name in PRODUCTS and Part.RAW in PRODUCTS[name].needs]
        walked = next((name for name in disks if PRODUCTS[name].finish is None), None)
        for name in names:
            if self._path(name) is None:
                differences.append(Difference(name, what="only one of the builds has it"))
            elif name == "build.json":
                differences += [
                    Difference(name, what=f"{key} differs")
                    for key in find_manifest_differences(self.first, self.second)
                ]
            elif name == "root":
                differences += self._root()
            elif name == "uki":
                differences += self._uki()
            elif name == "initrd":
                differences += self._initrd()
            elif name == "oci":
                differences += self._trees("oci", "")
            elif name == walked:
                differences += self._disk(name)
            elif name in disks and walked is not None:
                differences.append(Difference(name, what=f"it holds the same disk as {walked}"))
            else:
                differences.append(Difference(name, what="its bytes differ"))
        return differences

    def _path(self, name: str) -> tuple[Path, Path] | None:
        if name in ("root", "build.json"):
            return self.first.manifest, self.second.manifest
        one, other = self.first.artifacts.get(name), self.second.artifacts.get(name)
        return None if one is None or other is None else (one, other)

    def _pair(self, name: str) -> tuple[Path, Path]:
        pair = self._path(name)
        assert pair is not None
        return pair

    def _trees(self, artifact: str, part: str) -> Iterator[Difference]:
        """The files that differ in the finished trees."""
        if self.changes is None:
            yield Difference(artifact, part, what="its bytes differ")
            return
        for change in self.changes:
            what = _words(change.fields) + (" on the way, not in the end" if change.passing else "")
            yield Difference(artifact, part, change.path, what, change.origin, change.stage)
        if all(change.passing for change in self.changes):
            yield Difference(artifact, part, what=SAME_TREES, stage=artifact)

    def _root(self) -> Iterator[Difference]:
        return self._trees("root", "EROFS")

    def _uki(self) -> Iterator[Difference]:
        one, other = self._pair("uki")
        for part in find_differing(one, other, read_sections(one), read_sections(other)):
            if part.name == ".initrd":
                yield Difference("uki", part.name, what="it is the initrd")
            elif part.name == ".cmdline":
                what = "it names the root's hash" if self.first.data["roothash"] != self.second.data["roothash"] else ""
                yield Difference("uki", part.name, what=what or "another command line", stage="uki")
            else:
                yield Difference("uki", part.name, what="its bytes differ", stage="uki")

    def _initrd(self) -> Iterator[Difference]:
        archives = []
        for number, path in enumerate(self._pair("initrd")):
            plain = self.scratch / f"initrd{number}.cpio"
            self.tools.run("zstd", "-q", "-d", "-f", path, "-o", plain)
            with plain.open("rb") as file:
                archives.append(dict(read_members(file)))
        one, other = archives
        differing = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
        known = {change.path: change for change in self.changes or ()}
        for name in differing:
            change = known.get(f"/{name}")
            what = "its entry differs" if name in one and name in other else "only one of the builds has it"
            origin, stage = (change.origin, change.stage) if change is not None else ("", "initrd")
            yield Difference("initrd", "", f"/{name}", what, origin, stage)
        if not differing:
            what = "its members are the same; they were packed differently"
            yield Difference("initrd", what=what, stage="initrd")

    def _disk(self, name: str) -> Iterator[Difference]:
        raw = [self._raw(name, number, path) for number, path in enumerate(self._pair(name))]
        parts = read_partitions(raw[0])
        differing = find_differing(raw[0], raw[1], parts, read_partitions(raw[1]))
        root = self.first.data["roothash"] != self.second.data["roothash"]
        for part in differing:
            if root and (part.name.endswith("(verity)") or part.name in TABLES):
                yield Difference(name, part.name, what="it follows from the root")
            elif part.name.endswith("(root)"):
                what = "it is the root" if root else "its bytes differ behind the image"
                yield Difference(name, part.name, what=what, stage="" if root else "disk")
            elif part.name.endswith("(esp)"):
                yield from self._esp(name, part, raw)
            else:
                yield Difference(name, part.name, what="its bytes differ", stage="disk")
        if not differing:
            yield Difference(name, what="it holds the same disk, written differently", stage="formats")

    def _raw(self, name: str, number: int, path: Path) -> Path:
        if PRODUCTS[name].conversion is None:
            return path
        raw = self.scratch / f"disk{number}.raw"
        self.tools.run("qemu-img", "convert", "-O", "raw", path, raw)
        return raw

    def _esp(self, name: str, part: Section, raw: Sequence[Path]) -> Iterator[Difference]:
        trees = []
        for number, disk in enumerate(raw):
            directory = self.scratch / f"esp{number}"
            directory.mkdir()
            self.tools.run("mcopy", "-s", "-n", "-Q", "-i", f"{disk}@@{part.offset}", "::*", directory)
            files = (path for path in directory.rglob("*") if path.is_file())
            trees.append({f"/{path.relative_to(directory)}": hash_file(path) for path in files})
        one, other = trees
        paths = [path for path in sorted(one.keys() | other.keys()) if one.get(path) != other.get(path)]
        for path in paths:
            what = "it is the UKI" if path.startswith("/EFI/Linux/") else "its bytes differ"
            yield Difference(name, part.name, path, what, stage="" if path.startswith("/EFI/Linux/") else "disk")
        if not paths:
            what = "its files are the same; order, times or numbers of the FAT file system differ"
            yield Difference(name, part.name, what=what, stage="disk")


def _words(fields: Sequence[str]) -> str:
    if fields[0].startswith("only"):
        return fields[0]
    return f"{' and '.join(fields)} {'differs' if len(fields) == 1 else 'differ'}"
