"""The same bits wherever and however a build is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.image.faults.conftest import Project

pytestmark = pytest.mark.image


@pytest.fixture
def expected(project: Project) -> str:
    """The hash of the artifact, built in ordinary surroundings; the store is empty again."""
    ending = project.run()
    assert ending.status == 0, ending.said
    return project.artifact()


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"},
        {"TZ": "Pacific/Kiritimati"},
        {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"},
        {"PYTHONHASHSEED": "7", "TMPDIR": "/dev/shm"},
    ],
    ids=str,
)
@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_environment_and_umask_change_no_bit(
    project: Project, expected: str, tmp_path: Path, environment: dict[str, str], umask: int
) -> None:
    project.environment |= environment
    project.store = tmp_path / "another store"
    before = os.umask(umask)
    try:
        ending = project.run(out=tmp_path / "out")
    finally:
        os.umask(before)
    assert ending.status == 0, ending.said
    assert project.artifact(tmp_path / "out") == expected
    assert (tmp_path / "out" / "web.oci.tar").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["with space", "neue\nzeile", "ünïcödé", "$(id);'\"", os.fsdecode(b"\xff")])
def test_any_directory_will_do(project: Project, expected: str, tmp_path: Path, name: str) -> None:
    there = tmp_path / name
    project.directory.rename(there)
    project.directory, project.store = there, there / "store"
    project.forget()
    ending = project.run()
    assert ending.status == 0, ending.said
    assert project.artifact() == expected
