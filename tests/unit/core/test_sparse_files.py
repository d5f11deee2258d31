"""Files with holes: what has content, and copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.core.sparse import BLOCK, copy_sparse, find_extents

pytestmark = pytest.mark.unit


def make_file(path: Path, size: int, pieces: dict[int, bytes], *, filled: bool = False) -> Path:
    with path.open("wb") as file:
        if filled:
            file.write(bytes(size))
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


@pytest.mark.parametrize("filled", [False, True])
def test_extents_depend_on_content_and_not_on_the_file_systems_holes(tmp_path: Path, filled: bool) -> None:
    pieces = {0: b"a", BLOCK: b"b", 5 * BLOCK - 1: b"c", 40 * BLOCK + 7: b"d", 50 * BLOCK: bytes(3 * BLOCK)}
    path = make_file(tmp_path / "f", 64 * BLOCK + 100, {**pieces, 64 * BLOCK + 99: b"e"}, filled=filled)
    with path.open("rb") as file:
        assert find_extents(file) == [
            (0, 2 * BLOCK),
            (4 * BLOCK, BLOCK),
            (40 * BLOCK, BLOCK),
            (64 * BLOCK, 100),
        ]


@pytest.mark.parametrize("size", [0, 1, BLOCK, 3 * BLOCK + 1])
def test_file_of_zeros_has_no_extents(tmp_path: Path, size: int) -> None:
    with make_file(tmp_path / "f", size, {}).open("rb") as file:
        assert find_extents(file) == []


def test_copy_has_the_content_and_more_holes(tmp_path: Path) -> None:
    source = make_file(tmp_path / "a", 200 * BLOCK, {3 * BLOCK: os.urandom(BLOCK)}, filled=True)
    copy_sparse(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == source.read_bytes()
    assert (tmp_path / "b").stat().st_blocks < source.stat().st_blocks
