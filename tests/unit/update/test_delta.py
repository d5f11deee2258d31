"""Deltas: what is made is what is applied, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.publishing.deltas import write_records, write_unaligned_records
from tests.support.fuzz import empty_directory, examples, mutated
from update.delta import COPY, END, LITERAL, MAGIC, apply_records
from update.errors import UpdateError

pytestmark = pytest.mark.unit

BLOCK = 64


def make(tmp_path: Path, old: bytes, new: bytes) -> bytes:
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    out = io.BytesIO()
    write_records(tmp_path / "old", tmp_path / "new", BLOCK, out)
    return out.getvalue()


def apply(records: bytes, old: bytes, new: bytes) -> bytes:
    out = io.BytesIO()
    apply_records(io.BytesIO(records), io.BytesIO(old), out, len(new), hashlib.sha256(new).hexdigest())
    return out.getvalue()


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


BLOCKS = [bytes([value]) * BLOCK for value in range(6)]


@given(st.lists(st.sampled_from(BLOCKS)), st.lists(st.sampled_from(BLOCKS)), st.binary(max_size=100))
@examples(100)
def test_any_delta_makes_the_new_of_the_old(old: list[bytes], new: list[bytes], end: bytes) -> None:
    before, after = b"".join(old), b"".join(new) + end
    with empty_directory() as directory:
        assert apply(make(directory, before, after), before, after) == after


@given(
    st.lists(st.sampled_from(BLOCKS)), st.binary(max_size=9), st.lists(st.sampled_from(BLOCKS)), st.binary(max_size=9)
)
@examples(100)
def test_any_delta_of_what_lies_anywhere_makes_the_new_of_the_old(
    old: list[bytes], start: bytes, new: list[bytes], end: bytes
) -> None:
    before, after, out = b"".join(old), start + b"".join(new) + end, io.BytesIO()
    write_unaligned_records(before, after, BLOCK, out)
    assert apply(out.getvalue(), before, after) == after


def test_what_moved_by_one_byte_is_copied_where_it_may_lie_anywhere() -> None:
    noise, out = random.Random(3).randbytes(200_000), io.BytesIO()
    new = noise[:70_001] + b"x" + noise[70_001:150_000] + noise[150_007:]
    write_unaligned_records(noise, new, BLOCK, out)
    assert len(out.getvalue()) < 200
    assert apply(out.getvalue(), noise, new) == new


def test_what_moved_by_whole_blocks_is_copied(tmp_path: Path) -> None:
    noise = random.Random(3).randbytes(1000 * BLOCK)
    new = noise[: 300 * BLOCK] + b"new!" * BLOCK + noise[300 * BLOCK :]
    records = make(tmp_path, noise, new)
    assert len(records) < 5 * BLOCK
    assert apply(records, noise, new) == new


def test_blocks_that_are_in_many_places_do_not_cut_a_copy_up(tmp_path: Path) -> None:
    noise = random.Random(4).randbytes(50 * BLOCK)
    old = bytes(10 * BLOCK) + noise + bytes(10 * BLOCK) + noise[::-1]
    assert make(tmp_path, old, old) == MAGIC + COPY + number(0) + number(len(old)) + END


OLD = bytes(range(256))
GOOD = MAGIC + COPY + number(16) + number(32) + LITERAL + number(3) + b"new" + END
NEW = OLD[16:48] + b"new"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (b"", "is no delta"),
        (MAGIC, "is cut off"),
        (GOOD[:-1], "is cut off"),
        (GOOD[:25], "is cut off"),
        (GOOD + b"x", "has something behind its end"),
        (MAGIC + b"X" + END, "has a record of an unknown kind"),
        (MAGIC + END, "makes 0 bytes of 35"),
        (MAGIC + COPY + number(250) + number(35) + END, "wants more of the old version than there is"),
        (MAGIC + COPY + number(1 << 63) + number(35) + END, "wants more of the old version than there is"),
        (MAGIC + LITERAL + number(1 << 62) + b"x", "makes more than 35 bytes"),
        (MAGIC + LITERAL + number(35) + b"x" * 35 + END, "makes something else of this old version"),
    ],
)
def test_a_bad_delta_is_refused(records: bytes, message: str) -> None:
    assert apply(GOOD, OLD, NEW) == NEW
    with pytest.raises(UpdateError, match=message):
        apply(records, OLD, NEW)


@given(mutated(GOOD))
@examples(300)
def test_any_delta_is_applied_or_refused(records: bytes) -> None:
    try:
        made = apply(records, OLD, NEW)
    except UpdateError:
        return
    assert made == NEW
