"""Disks that are full or cannot be written end a build with a sentence and the exit code for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.image.faults.conftest import FINISHED, Project

pytestmark = pytest.mark.image

# Makes a file system of $1 bytes at $2 for the rest of its life, runs the command, and lists what was left unfinished.
SMALL = f"""\
mount -t tmpfs -o size=$1 none "$2" || exit 99
at=$2; shift 2
"$@"
status=$?
find "$at" -name ".*" {" ".join(f"! -name {name}" for name in FINISHED)}
exit $status
"""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 99; shift; exec "$@"'


def in_namespace(script: str, *arguments: object) -> tuple[str, ...]:
    """The beginning of a command line that runs the rest of it after a script, with mounts of its own."""
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *map(str, arguments))


@pytest.fixture(autouse=True)
def namespaces() -> None:
    """Skip where no file system can be mounted."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1) to mount a small file system")
    done = subprocess.run([*in_namespace(SMALL, "1m", "/mnt"), "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a small file system: {done.stderr.strip()}")


def disk_usage(*directories: Path) -> int:
    """Bytes that these take on a disk."""
    return sum(path.lstat().st_blocks * 512 for each in directories for path in each.rglob("*"))


@pytest.mark.parametrize("share", [1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("full", ["store", "out"])
def test_a_disk_that_gets_full_at_any_stage_ends_the_build_with_a_sentence(
    project: Project, full: str, share: int
) -> None:
    assert project.run().status == 0
    place = {"store": project.store, "out": project.out}[full]
    size = disk_usage(place) * share // 10
    for directory in (project.store, project.out):
        shutil.rmtree(directory)
    place.mkdir()
    project.prefix = in_namespace(SMALL, size, place)
    process = project.start()
    left, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "no space left" in said
    assert "Traceback" not in said
    assert left == ""


def test_a_disk_with_less_than_a_build_needs_is_refused_before_anything_is_fetched(project: Project) -> None:
    assert project.run("lock", project.definition).status == 0
    project.room = 2_000_000_000
    project.out.mkdir()
    project.prefix = in_namespace(SMALL, "64m", project.out)
    ending = project.run()
    assert ending.status == 3
    assert "left; a build needs 2.0 GB" in ending.said
    assert project.fetched() == []


@pytest.mark.parametrize("fill", [True, False], ids=["with everything in it", "empty"])
def test_a_store_that_cannot_be_written_is_named(project: Project, fill: bool) -> None:
    if fill:
        assert project.run().status == 0
        project.forget()
    else:
        project.store.mkdir()
    project.prefix = in_namespace(READ_ONLY, project.store)
    ending = project.run()
    assert ending.status == 3, ending.said
    assert str(project.store) in ending.said
    assert "Traceback" not in ending.said


def test_with_nothing_to_do_a_store_need_not_be_written(project: Project) -> None:
    assert project.run().status == 0
    project.prefix = in_namespace(READ_ONLY, project.store)
    ending = project.run()
    assert (ending.status, "nothing to do" in ending.said) == (0, True), ending.said


@pytest.mark.parametrize("where", ["store", "out"])
def test_a_disk_that_fails_now_and_then_ends_the_build_with_a_sentence_or_does_not_matter(
    project: Project, where: str
) -> None:
    assert project.run().status == 0
    expected, whole = project.artifact(), project.environment.copy()
    place = {"store": project.store, "out": project.out}[where]
    statuses = set()
    for seed in range(10):
        shutil.rmtree(project.store)
        project.forget()
        project.environment["FAILING_DISK"] = f"{seed}:0.02:{place}"
        ending = project.run()
        statuses.add(ending.status)
        assert ending.status in (0, 3), ending.said
        assert "Traceback" not in ending.said
        if ending.status:
            assert "Input/output error" in ending.said
            assert not (project.out / "build.json").exists()
        else:
            assert project.artifact() == expected
        assert project.leftovers() == []
        project.environment = whole.copy()
    assert 3 in statuses, "no read and no write failed: this test shows nothing"
    ending = project.run()
    assert ending.status == 0, ending.said
    assert project.artifact() == expected
