"""Sparse files in layers: the three formats that writers use, and maps that lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tree import sparse
from builder.tree.layer import read_layer, read_members
from builder.tree.node import Slice
from builder.tree.tar import make_pax_record, make_ustar_header, seal
from builder.tree.tree import Tree, TreeError
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

Pieces = Sequence[tuple[int, bytes]]
PIECES: Pieces = ((0, b"begin"), (10_000, b"x" * 700), (1 << 20, b"end"))
SIZE = (1 << 20) + 100


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(*records: tuple[str, object]) -> bytes:
    body = b"".join(make_pax_record(key.encode(), str(value).encode()) for key, value in records)
    return make_ustar_header(b"PaxHeaders/x", b"x", 0o644, 0, 0, len(body), 0) + padded(body)


def plain(name: bytes, data: bytes) -> bytes:
    return make_ustar_header(name, b"0", 0o644, 0, 0, len(data), 0) + padded(data)


def old_gnu(pieces: Pieces, size: int) -> bytes:
    entries = [b"%011o\0%011o\0" % (offset, len(data)) for offset, data in pieces]
    stored = b"".join(data for _, data in pieces)
    head = bytearray(make_ustar_header(b"log", b"S", 0o644, 0, 0, len(stored), 0))
    head[257:265] = b"ustar  \0"
    head[345:512] = bytes(167)
    head[386:482] = b"".join(entries[:4]).ljust(96, b"\0")
    head[482] = len(entries) > 4
    head[483:495] = b"%011o\0" % size
    blocks = b""
    for start in range(4, len(entries), 21):
        more = len(entries) > start + 21
        blocks += b"".join(entries[start : start + 21]).ljust(504, b"\0") + bytes([more]) + bytes(7)
    head[148:156] = b" " * 8
    return seal(bytes(head)) + blocks + padded(stored)


def pax_0_0(pieces: Pieces, size: int) -> bytes:
    records: list[tuple[str, object]] = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", len(pieces))]
    for offset, data in pieces:
        records += [("GNU.sparse.offset", offset), ("GNU.sparse.numbytes", len(data))]
    return pax(*records) + plain(b"log", b"".join(data for _, data in pieces))


def pax_0_1(pieces: Pieces, size: int) -> bytes:
    numbers = ",".join(f"{offset},{len(data)}" for offset, data in pieces)
    records = (("GNU.sparse.size", size), ("GNU.sparse.map", numbers), ("GNU.sparse.name", "log"))
    return pax(*records) + plain(b"GNUSparseFile.1/log", b"".join(data for _, data in pieces))


def pax_1_0(pieces: Pieces, size: int) -> bytes:
    lines = [len(pieces), *(number for offset, data in pieces for number in (offset, len(data)))]
    leading = padded("".join(f"{number}\n" for number in lines).encode())
    records = (
        ("GNU.sparse.major", 1),
        ("GNU.sparse.minor", 0),
        ("GNU.sparse.name", "log"),
        ("GNU.sparse.realsize", size),
    )
    return pax(*records) + plain(b"GNUSparseFile.1/log", leading + b"".join(data for _, data in pieces))


FORMATS = {"old GNU": old_gnu, "PAX 0.0": pax_0_0, "PAX 0.1": pax_0_1, "PAX 1.0": pax_1_0}


def write_pack(tmp_path: Path, *members: bytes) -> Path:
    pack = tmp_path / "layer.tar"
    pack.write_bytes(b"".join(members) + bytes(1024))
    return pack


def expand(pieces: Pieces, size: int) -> bytes:
    whole = bytearray(size)
    for offset, data in pieces:
        whole[offset : offset + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pieces", [PIECES, (), tuple((n * 8192, b"%d" % n) for n in range(60))], ids=["3", "0", "60"])
def test_sparse_file_has_its_holes_and_its_pieces(tmp_path: Path, name: str, pieces: Pieces) -> None:
    pack = write_pack(tmp_path, plain(b"before", b"1"), FORMATS[name](pieces, SIZE), plain(b"after", b"2"))
    tree = read_layer(Tree(), pack, origin="c")
    assert (tree.read("/before"), tree.read("/after")) == (b"1", b"2")
    assert tree.read("/log") == expand(pieces, SIZE)


def test_holes_take_no_room_on_the_disk(tmp_path: Path) -> None:
    tree = read_layer(Tree(), write_pack(tmp_path, pax_1_0([(0, b"x")], 1 << 30)), origin="c")
    content = tree.require("/log").content
    assert isinstance(content, Slice)
    assert content.size == 1 << 30
    assert Path(content.path).stat().st_blocks * 512 < 1 << 20


HOSTILE = {
    "pieces that overlap": pax_0_1([(0, b"abc"), (1, b"d")], 100),
    "piece behind the end": pax_0_1([(99, b"abc")], 100),
    "more stored than mapped": pax(("GNU.sparse.size", 9), ("GNU.sparse.map", "0,1")) + plain(b"x", b"abc"),
    "less stored than mapped": pax(("GNU.sparse.size", 9), ("GNU.sparse.map", "0,4")) + plain(b"x", b"abc"),
    "odd map": pax(("GNU.sparse.size", 9), ("GNU.sparse.map", "0,1,2")) + plain(b"x", b"a"),
    "map of words": pax(("GNU.sparse.size", 9), ("GNU.sparse.map", "0,one")) + plain(b"x", b"a"),
    "no size": pax(("GNU.sparse.map", "0,1")) + plain(b"x", b"a"),
    "two offsets": pax(("GNU.sparse.size", 9), ("GNU.sparse.offset", 0), ("GNU.sparse.offset", 1)) + plain(b"x", b""),
    "format of tomorrow": pax(("GNU.sparse.major", 2), ("GNU.sparse.minor", 0)) + plain(b"x", b""),
    "leading map cut short": pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.realsize", 9))
    + plain(b"x", b"3\n0\n"),
    "leading map of words": pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.realsize", 9))
    + plain(b"x", b"many pieces that are not numbers\n".ljust(512, b"\0")),
    "leading map of a billion": pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.realsize", 9))
    + plain(b"x", b"999999999\n".ljust(512, b"\0")),
    "sparse directory": pax(("GNU.sparse.size", 9), ("GNU.sparse.map", ""))
    + make_ustar_header(b"d/", b"5", 0o755, 0, 0, 0, 0),
    "sparse name that climbs out": pax(("GNU.sparse.name", "../x"), ("GNU.sparse.size", 0), ("GNU.sparse.map", ""))
    + plain(b"x", b""),
    "5 GiB of holes": pax_1_0([], 5 << 30),
    "two files of 3 GiB": pax_1_0([], 3 << 30) + pax_0_1([], 3 << 30),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_map_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    pack = write_pack(tmp_path, HOSTILE[name])
    with pytest.raises(TreeError, match="layer member"):
        read_layer(Tree(), pack, origin="c")
    assert [path.name for path in tmp_path.iterdir()] == ["layer.tar"]


def test_where_sparse_files_have_no_place_they_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="is a sparse file"):
        list(read_members(write_pack(tmp_path, old_gnu(PIECES, SIZE)), origin="web.tar", what="member"))


@examples(150)
@given(
    name=st.sampled_from(list(FORMATS)),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=12)), max_size=4),
)
def test_any_map_gives_a_tree_or_a_tree_error(tmp_path: Path, name: str, flips: list[tuple[int, bytes]]) -> None:
    data = bytearray(FORMATS[name](PIECES, SIZE))
    for position, piece in flips:
        start = position % len(data)
        data[start : start + len(piece)] = piece[: len(data) - start]
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            head = bytes(data[start : start + 148]) + b" " * 8 + bytes(data[start + 156 : start + 512])
            data[start : start + 512] = seal(head)
    try:
        tree = read_layer(Tree(), write_pack(tmp_path, bytes(data)), origin="c")
    except TreeError:
        return
    assert tree.count_bytes() <= sparse.MAX_EXPANDED
