"""Which cells are others than at a revision of git's."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.core.store import Store
from builder.matrix import changes
from builder.matrix.changes import list_changed
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What git gives for every revision."""
    path = tmp_path / "revision.tar"

    def answer(_: Path, *words: str) -> bytes:
        if words[0] == "archive":
            (word,) = (word for word in words if word.startswith("--output="))
            Path(word.removeprefix("--output=")).write_bytes(path.read_bytes())
        return str(tmp_path).encode() if "--show-toplevel" in words else b"c0ffee"

    monkeypatch.setattr(changes, "_ask_git", answer)
    return path


def test_a_repository_may_have_units_that_are_masked(
    make_matrix: MakeMatrix, empty_store: Store, tmp_path: Path, archive: Path
) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    (tmp_path / "systemd-pcrlock.service").symlink_to("/dev/null")
    with tarfile.open(archive, "w") as tar:
        for name in ("matrix.yaml", "one.yaml", "one.lock", "systemd-pcrlock.service"):
            tar.add(tmp_path / name, name)
    assert list_changed(made.cells, made.path, "main", empty_store) == ()
    (tmp_path / "one.yaml").write_text("name: one\nversion: 2.0.0\narch: amd64\n")
    assert list_changed(made.cells, made.path, "main", empty_store) == made.cells


def test_a_revision_that_cannot_be_unpacked_is_named(
    make_matrix: MakeMatrix, empty_store: Store, archive: Path
) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(InputError, match="the revision 'main' cannot be unpacked"):
        list_changed(made.cells, made.path, "main", empty_store)
