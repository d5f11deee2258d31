"""The payload of an update: what is in it, in which order, and that the same parts give the same bytes."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.making import make_products
from builder.products.product import Identity, Part
from update.documents import parse_release

if TYPE_CHECKING:
    from conftest import FakeTools

pytestmark = pytest.mark.unit

ROOT_HASH = "00112233445566778899aabbccddeeff" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
IDENTITY = Identity("demo", "1.0.0", "amd64", ROOT_HASH, 86400, ROOT_HASH)


@pytest.fixture
def tools(fake_tools: FakeTools) -> FakeTools:
    """zstd that puts a word before what it is given."""

    def zstd(*arguments: str) -> str:
        Path(arguments[-1]).write_bytes(b"zstd " + Path(arguments[-3]).read_bytes())
        return ""

    fake_tools.programs["zstd"] = zstd
    return fake_tools


def make(directory: Path, tools: FakeTools, parts: Mapping[Part, bytes]) -> Path:
    directory.mkdir()
    files = {part: directory / f"any-{part}" for part in parts}
    for part, path in files.items():
        path.write_bytes(parts[part])
    return make_products([SYSTEM_PRODUCTS["update"]], files, directory / "out", tools, IDENTITY)["update"]


PARTS = {Part.UKI: b"MZ", Part.ROOT: b"erofs" * 1000, Part.VERITY: b"hashes"}
SIGNED = {**PARTS, Part.SIGNATURE: b"{}".ljust(16384, b"\0")}


def test_a_payload_is_its_description_and_the_parts_that_it_describes(tmp_path: Path, tools: FakeTools) -> None:
    payload = make(tmp_path / "one", tools, SIGNED)
    assert payload.name == "demo-update.tar"
    with tarfile.open(payload) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert {(m.mode, m.uid, m.gid, m.mtime, m.uname) for m in archive} == {(0o644, 0, 0, 86400, "")}
    assert list(content) == ["release.json", "root.zst", "verity.zst", "signature.zst", "uki.zst"]
    release = parse_release(content["release.json"])
    assert (release.name, release.version, release.arch, release.roothash) == ("demo", "1.0.0", "amd64", ROOT_HASH)
    for name, part in release.parts.items():
        (file,) = part.files
        plain = SIGNED[Part(name)]
        assert content[file.name] == b"zstd " + plain
        assert (file.size, file.sha256) == (len(plain) + 5, hashlib.sha256(content[file.name]).hexdigest())
        assert (part.size, part.sha256) == (len(plain), hashlib.sha256(plain).hexdigest())
    assert {name: part.uuid for name, part in release.parts.items()} == {
        "root": "00112233-4455-6677-8899-aabbccddeeff",
        "verity": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        "signature": None,
        "uki": None,
    }


def test_without_a_signature_there_is_none(tmp_path: Path, tools: FakeTools) -> None:
    with tarfile.open(make(tmp_path / "one", tools, PARTS)) as archive:
        assert archive.getnames() == ["release.json", "root.zst", "verity.zst", "uki.zst"]


def test_the_same_parts_give_the_same_payload(tmp_path: Path, tools: FakeTools) -> None:
    one, other = (make(tmp_path / name, tools, SIGNED) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
