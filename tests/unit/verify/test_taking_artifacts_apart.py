"""Disks, PE files and cpio archives taken apart, and the names that differences get."""

from __future__ import annotations

import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from builder.core.files import hash_file
from builder.core.pe import Section, read_sections
from builder.tree.cpio import write_cpio
from builder.tree.node import make_file
from builder.tree.tree import Tree
from builder.verify.artifacts import find_differing, hash_part, read_members, read_partitions
from builder.verify.compare import Built, compare
from builder.verify.locate import Locator
from builder.verify.records import Change
from update.gpt import TYPES

pytestmark = pytest.mark.unit

MIB = 1 << 20
NAMED = {kind: uuid for uuid, kind in reversed(TYPES.items())}
ESP, ROOT, VERITY = NAMED["esp"], NAMED["root"], NAMED["root-verity"]


def disk(path: Path, *contents: bytes, kinds: tuple[UUID, ...] = (ESP, ROOT, VERITY)) -> Path:
    """A sparse disk of partitions of 1 MiB, each beginning with its content."""
    entries = b""
    for number, kind in enumerate(kinds, start=1):
        first = number * MIB // 512
        entries += kind.bytes_le + bytes(16) + struct.pack("<QQQ", first, first + MIB // 512 - 1, 0) + bytes(72)
    with path.open("wb") as out:
        out.seek(512)
        out.write(b"EFI PART" + bytes(64) + struct.pack("<QII", 2, len(kinds), 128))
        out.seek(1024)
        out.write(entries)
        for number, content in enumerate(contents, start=1):
            out.seek(number * MIB)
            out.write(content)
        out.truncate(6 * MIB)
    return path


def program(path: Path, **parts: bytes) -> Path:
    """A PE file of these sections."""
    count = len(parts)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, count, 0, 0, 0, 0, 0)
    table, body = b"", b""
    start = len(head) + 40 * count
    for name, data in parts.items():
        entry = struct.pack("<IIII", len(data), 0, len(data), start + len(body)) + bytes(16)
        table += f".{name}".encode().ljust(8, b"\0") + entry
        body += data
    path.write_bytes(head + table + body)
    return path


def initrd(path: Path, **files: str) -> Path:
    """A cpio archive; the fake zstd copies it."""
    tree = Tree()
    for name, text in files.items():
        tree.put(f"/usr/{name}", make_file(text, origin="package:a"))
    with path.open("wb") as out:
        write_cpio(tree, out)
    return path


def test_a_disk_is_taken_apart_by_what_its_partitions_are_for(tmp_path: Path) -> None:
    found = read_partitions(disk(tmp_path / "disk"))
    assert [(part.name, part.offset, part.size) for part in found] == [
        ("partition table", 0, MIB),
        ("partition 1 (esp)", MIB, MIB),
        ("partition 2 (root)", 2 * MIB, MIB),
        ("partition 3 (root-verity)", 3 * MIB, MIB),
        ("backup partition table", 4 * MIB, 2 * MIB),
    ]


def test_only_the_partition_that_differs_is_named(tmp_path: Path) -> None:
    one, other = disk(tmp_path / "one", b"a", b"b", b"c"), disk(tmp_path / "other", b"a", b"B", b"c")
    assert [p.name for p in find_differing(one, other, read_partitions(one), read_partitions(other))] == [
        "partition 2 (root)"
    ]


def test_holes_are_zeros(tmp_path: Path) -> None:
    part = Section("all", 512, 5 * MIB)
    sparse, full, other = tmp_path / "sparse", tmp_path / "full", tmp_path / "other"
    with sparse.open("wb") as out:
        out.seek(3 * MIB)
        out.write(b"x")
        out.truncate(6 * MIB)
    full.write_bytes(bytes(3 * MIB) + b"x" + bytes(3 * MIB - 1))
    other.write_bytes(bytes(3 * MIB + 1) + b"x" + bytes(3 * MIB - 2))
    assert hash_part(sparse, part) == hash_part(full, part) != hash_part(other, part)


def test_a_program_is_taken_apart_by_its_sections(tmp_path: Path) -> None:
    one, other = program(tmp_path / "one", linux=b"k", osrel=b"1"), program(tmp_path / "other", linux=b"k", osrel=b"2")
    assert [p.name for p in read_sections(one)] == ["headers", ".linux", ".osrel"]
    assert [p.name for p in find_differing(one, other, read_sections(one), read_sections(other))] == [".osrel"]


def test_an_archive_is_taken_apart_by_its_members() -> None:
    tree = Tree()
    tree.put("/usr/bin/a", make_file("a" * 5, 0o755, origin="x"))
    out = io.BytesIO()
    write_cpio(tree, out)
    # An initrd is one archive behind the other.
    write_cpio(Tree({"/usr/bin/b": make_file("b", origin="x")}), out)
    out.seek(0)
    found = dict(read_members(out))
    assert list(found) == ["usr", "usr/bin", "usr/bin/a", "usr/bin/b"]
    assert found["usr/bin/a"][0] == 0o100755
    with pytest.raises(ValueError, match="no cpio archive"):
        list(read_members(io.BytesIO(out.getvalue() + b"x")))


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (read_partitions, b"x" * 4096),
        (read_sections, b"MZ"),
        (read_sections, b"x" * 4096),
        (lambda path: list(read_members(io.BytesIO(path.read_bytes()))), b"0"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, read: Callable[[Path], object], data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=r"no partition table|no PE file|no cpio archive"):
        read(tmp_path / "file")


def built(directory: Path, *, noise: str = "") -> Built:
    """A build of a raw disk, a UKI and an initrd; ``noise`` is where it differs from one without."""
    directory.mkdir()
    cmdline = b"roothash=" + (b"22" if noise == "root" else b"11")
    disk(directory / "d.raw", b"esp", b"root" + noise.encode() if noise == "root" else b"root", b"hashes")
    program(directory / "d.efi", linux=noise.encode() if noise == "kernel" else b"linux", cmdline=cmdline)
    initrd(directory / "d.initrd", a=noise if noise == "initrd" else "a", b="b")
    names = {"raw": "d.raw", "uki": "d.efi", "initrd": "d.initrd"}
    data = {
        "schema": 1,
        "version": noise if noise == "manifest" else "1",
        "roothash": cmdline[9:].decode(),
        "definition": str(directory),
        "artifacts": {kind: {"path": name, "sha256": hash_file(directory / name)} for kind, name in names.items()},
    }
    (directory / "build.json").write_text(json.dumps(data))
    return Built.read(directory / "build.json")


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("", []),
        ("manifest", ["build.json: version differs"]),
        ("initrd", ["initrd: /usr/a: content differs, from package:a, in stage packages"]),
        ("kernel", ["uki: headers: its bytes differ, in stage uki", "uki: .linux: its bytes differ, in stage uki"]),
        (
            "root",
            [
                "raw: partition 2 (root): it is the root",
                "uki: .cmdline: it names the root's hash, in stage uki",
                "root: EROFS: /usr/a: content differs, from package:a, in stage packages",
            ],
        ),
    ],
)
def test_a_difference_is_named_where_it_is(tmp_path: Path, fake_tools: object, noise: str, expected: list[str]) -> None:
    first, second = built(tmp_path / "first"), built(tmp_path / "second", noise=noise)
    fake_tools.programs["zstd"] = lambda *words: str(shutil.copyfile(words[-3], words[-1]))  # type: ignore[attr-defined]
    (tmp_path / "scratch").mkdir()
    known = [Change("/usr/a", "packages", ("content",), "package:a")]
    locator = Locator(first, second, known, fake_tools, tmp_path / "scratch")  # type: ignore[arg-type]
    found = [str(difference) for difference in locator.list_differences(compare(first, second))]
    if noise == "initrd":
        expected = ["initrd: /usr/a: its entry differs, from package:a, in stage packages"]
    assert found == expected


def test_a_manifest_may_differ_in_what_it_says_of_the_machine(tmp_path: Path) -> None:
    first, second = built(tmp_path / "first"), built(tmp_path / "second")
    assert first.data["definition"] != second.data["definition"]
    assert all(row.same for row in compare(first, second))


def test_an_artifact_that_was_changed_since_is_found(tmp_path: Path) -> None:
    first, second = built(tmp_path / "first"), built(tmp_path / "second")
    with (tmp_path / "first" / "d.raw").open("r+b") as out:
        out.write(b"x")
    assert [row.name for row in compare(first, second) if not row.same] == ["raw"]
