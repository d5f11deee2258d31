"""What machines share: used if its maker is trusted and it is whole, made here otherwise, and replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.files import hash_file
from builder.core.store import Store
from builder.sharing.entry import SharedEntry
from builder.sharing.places import DirectoryPlace
from tests.unit.sharing.conftest import Machines, cache_of, damage_archive, make_key, sign_payload

pytestmark = pytest.mark.unit


def test_what_one_machine_made_another_takes(machines: Machines) -> None:
    machines.build(machines.add("first"), push=True)
    second = machines.add("second")
    assert machines.build(second) == "content"
    assert machines.makes == ["first"]
    assert (cache_of(second).counts.hits, cache_of(second).counts.misses) == (1, 0)
    machines.build(second)  # it is in its own store now
    assert cache_of(second).counts.hits == 1


def test_without_a_cache_nothing_is_asked(machines: Machines, tmp_path: Path) -> None:
    machines.build(machines.add("first"), push=True)
    machines.build(Store.open(tmp_path / "alone"))
    assert machines.makes == ["first", "alone"]


def test_an_entry_of_nobody_who_is_trusted_is_made_here(machines: Machines, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_key()
    machines.build(machines.add("stranger", key=other, trusted=other), "poison", push=True)
    careful = machines.add("careful")
    assert machines.build(careful) == "content"
    assert cache_of(careful).counts.refused == 1
    assert (
        f"is not used: it is signed by {other.public.fingerprint}, which is not trusted here" in capsys.readouterr().err
    )


def cut_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.write_bytes(archive.read_bytes()[:-5])


def change_payload(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    envelope = json.loads(path.read_text())
    envelope["payload"] = sign_payload(machines, sha256="0" * 64)["payload"]
    path.write_text(json.dumps(envelope))


def sign_other_name(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines, name=f"outputs-3-{'0' * 64}")))


def sign_other_files(machines: Machines) -> None:
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines, files={"deep": "/", "deep/file": "0" * 64})))


def write_nonsense(machines: Machines) -> None:
    (machines.directory / f"cache/entries/{machines.name}.json").write_text('{"payload": "e30="')


def enlarge_document(machines: Machines) -> None:
    """More than memory has, and nothing on the disk."""
    os.truncate(machines.directory / f"cache/entries/{machines.name}.json", 1 << 40)


@pytest.mark.parametrize(
    "damage",
    [
        damage_archive,
        cut_archive,
        change_payload,
        sign_other_name,
        sign_other_files,
        write_nonsense,
        enlarge_document,
    ],
)
def test_what_was_changed_since_it_was_signed_is_made_here(
    machines: Machines, damage: Callable[[Machines], None], capsys: pytest.CaptureFixture[str]
) -> None:
    machines.build(machines.add("first"), push=True)
    damage(machines)
    second = machines.add("second")
    assert machines.build(second) == "content"
    assert machines.makes == ["first", "second"]
    assert cache_of(second).counts.refused == 1
    assert "is not used: " in capsys.readouterr().err


def lose_archive(machines: Machines) -> None:
    (archive,) = (machines.directory / "cache/blobs").rglob("sha256/*/*")
    archive.unlink()


def sign_by_a_stranger(machines: Machines) -> None:
    machines.key, kept = make_key(), machines.key
    path = machines.directory / f"cache/entries/{machines.name}.json"
    path.write_text(json.dumps(sign_payload(machines)))
    machines.key = kept


@pytest.mark.parametrize(
    "damage",
    [
        damage_archive,
        cut_archive,
        lose_archive,
        change_payload,
        sign_other_name,
        sign_other_files,
        sign_by_a_stranger,
        write_nonsense,
        enlarge_document,
    ],
)
def test_what_nobody_can_use_is_replaced_by_who_had_to_make_it(
    machines: Machines, damage: Callable[[Machines], None]
) -> None:
    machines.build(machines.add("first"), push=True)
    damage(machines)
    machines.build(machines.add("second"), push=True)
    assert machines.build(machines.add("third")) == "content"
    assert machines.makes == ["first", "second"]


def test_an_archive_of_the_right_size_and_another_content_is_written_again(tmp_path: Path) -> None:
    place, archive = DirectoryPlace(tmp_path / "cache"), tmp_path / "archive"
    archive.write_bytes(b"content")
    entry = SharedEntry(f"outputs-3-{'0' * 64}", hash_file(archive), 7, {})
    place.put(entry, b"{}", archive)
    (there,) = (tmp_path / "cache/blobs").rglob("sha256/*/*")
    there.write_bytes(b"CONTENT")
    place.put(entry, b"{}", archive)
    assert there.read_bytes() == b"content"
