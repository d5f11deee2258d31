"""Whenever a build is killed or interrupted: no half file has a final name, nothing runs on, the next one succeeds."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from builder.debian.lock import Lock
from tests.image.faults.conftest import Project, ended
from tests.support.mirror import Handler

pytestmark = pytest.mark.image

KILLS = 20
# It is less than a second on a machine that has nothing else to do. The limit is for one that has.
AT_ONCE = 30
# Every step of a build, in order: from a fresh clone to the finished artifact.
STEPS = ("read package indexes", "resolve packages", "fetch packages", "unpack tools", "container web")


def require_nothing_partial(project: Project) -> None:
    """What stands under its final name is whole."""
    for path in (project.store / "blobs").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    if project.out.is_dir():
        names = {path.name for path in project.out.iterdir() if not path.name.startswith(".")} - {"build.log"}
        everything = {"web.oci.tar", "web.cdx.json", "build.json"}
        assert names == everything or names < everything - {"build.json"} or names == everything - {"build.json"}
    if project.lock.exists():
        assert Lock.load(project.lock).packages


def size_of(directory: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in directory.rglob("*"))


def mentions(project: Project, line: str) -> bool:
    """Whether a mount is below a project or its store; others may mount what they like."""
    return any(str(place) in line for place in (project.directory, project.store))


def children_of(process: int) -> list[str]:
    """Processes that a process started and did not wait for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(path.parent.name)
    return found


def test_a_build_killed_at_any_of_twenty_moments_leaves_nothing_that_the_next_one_trips_over(project: Project) -> None:
    started = time.monotonic()
    assert project.run().status == 0
    whole = time.monotonic() - started
    expected, kept = project.artifact(), size_of(project.store)
    dice = random.Random(20)
    for _ in range(KILLS):
        project.forget()
        for room in dice.sample(("packs", "tools", "blobs", "partial"), 2):  # begin from a different state each time
            for path in (project.store / room).rglob("*"):
                if path.is_file():
                    path.unlink()
        process = project.start()
        time.sleep(dice.uniform(0.3, 1.1) * whole)  # before that, Python is only starting
        process.kill()
        process.communicate()
        require_nothing_partial(project)
    ending = project.run()
    assert ending.status == 0, ending.said
    assert project.artifact() == expected
    assert project.leftovers() == []
    assert size_of(project.store) <= 1.1 * kept


def test_what_a_killed_build_left_beside_its_artifacts_is_swept_by_the_next_one(project: Project) -> None:
    assert project.run().status == 0
    project.forget()
    (project.out / ".web.oci.tar.0123456789abcdef").write_bytes(b"whole, but not renamed yet")
    (project.out / ".new-half").mkdir()
    (project.out / ".new-half" / "web.qcow2").write_bytes(b"half")
    (project.out / ".mine").write_text("not ours")
    assert project.run().status == 0
    assert project.leftovers() == [project.out / ".mine"]


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "terminated")],
)
@pytest.mark.parametrize("step", STEPS)
def test_a_signal_at_any_step_ends_the_build_at_once_and_leaves_nothing(
    project: Project, step: str, number: signal.Signals, status: int, says: str
) -> None:
    process = project.start_held(step)
    process.send_signal(number)
    ending = ended(process, AT_ONCE)
    assert ending.status == status, ending.said
    assert f"{says}; nothing partial is left behind" in ending.said
    assert "Traceback" not in ending.said
    assert children_of(process.pid) == []
    assert [line for line in Path("/proc/mounts").read_text().splitlines() if mentions(project, line)] == []
    require_nothing_partial(project)
    assert project.leftovers() == []
    after = project.run()  # no lock is left to wait for
    assert (after.status, "waiting" in after.said) == (0, False), after.said


def test_a_signal_while_mirrors_are_silent_ends_the_build_at_once(project: Project) -> None:
    assert project.run("lock", project.definition).status == 0
    asked, over = threading.Event(), threading.Event()

    def silence(handler: Handler) -> None:
        asked.set()
        over.wait(120)

    for deb in project.debs.values():
        project.mirror.rules[deb.path] = silence
    project.patience = 100
    process = project.start()
    assert asked.wait(60)
    process.send_signal(signal.SIGINT)
    try:
        assert ended(process, AT_ONCE).status == 130
    finally:
        over.set()


def test_a_lock_of_a_process_that_is_gone_is_no_obstacle(project: Project) -> None:
    process = project.start_held("container web")
    process.kill()
    process.communicate()
    assert (project.out / ".lock").read_text().split()[0] == str(process.pid)
    assert not os.path.exists(f"/proc/{process.pid}")  # noqa: PTH110 - a word of the kernel's, not a path of ours
    ending = project.run()
    assert (ending.status, "waiting" in ending.said) == (0, False), ending.said
