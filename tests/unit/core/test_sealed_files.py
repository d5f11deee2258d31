"""Files that carry their own hash: any damage makes them no files at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.sealed import head_of, is_sealed, read_sealed, write_sealed
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

KIND = "test 1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rooms" / "file"
    write_sealed(path, KIND, b"one\n", b"", b"two")
    return path


def test_what_was_written_is_read(path: Path) -> None:
    assert read_sealed(path, KIND) == b"one\ntwo"
    assert is_sealed(path, KIND)
    assert path.read_bytes()[len(head_of(KIND, "0" * 64)) :] == b"one\ntwo"


def test_an_empty_one_is_one(tmp_path: Path) -> None:
    write_sealed(tmp_path / "empty", KIND)
    assert read_sealed(tmp_path / "empty", KIND) == b""


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARM: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a link": linked,
    "a pipe that nobody writes to": piped,
    "a directory": lambda path: path.unlink() or path.mkdir(),
    "of another version": lambda path: path.write_bytes(path.read_bytes().replace(b"test 1", b"test 2")),
}


@pytest.mark.parametrize("harm", HARM)
def test_damage_of_any_kind_is_found(path: Path, harm: str) -> None:
    HARM[harm](path)
    assert read_sealed(path, KIND) is None
    assert not is_sealed(path, KIND)


@examples(200)
@given(data=st.binary(max_size=300))
def test_nothing_else_is_taken_for_one(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert read_sealed(path, KIND) is None
    assert not is_sealed(path, KIND)


@examples(300)
@given(data=mutated(head_of(KIND, "ef" * 32) + b"some content\n" * 20))
def test_reading_it_whole_and_in_pieces_comes_to_the_same(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert (read_sealed(path, KIND) is not None) == is_sealed(path, KIND)
