"""A build that is stopped, killed or hindered leaves nothing half-made; the next one succeeds with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.core.store import Store

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
DEMO = REPOSITORY / "configs" / "demo.yaml"


@pytest.fixture
def environment(tmp_path: Path, store: Store, demo: Path) -> dict[str, str]:
    """A store of its own with the downloads and tools of the real one, so that everything is built again."""
    private = tmp_path / "store"
    private.mkdir()
    for room in ("blobs", "tools"):
        (private / room).symlink_to(store.root / room)
    return {**os.environ, "BUILD_OS_CACHE": str(private)}


def start(out: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "builder", "build", str(DEMO), "-o", str(out), "--offline", "--progress=json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(process: subprocess.Popen[str], title: str) -> None:
    """Wait until a build begins a step."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        event = json.loads(line)
        if (event["event"], event.get("step")) == ("started", title):
            return
    raise AssertionError(f"it never came to {title!r}:\n{''.join(said)}")


def visible(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if not path.name.startswith(".") and path.name != "build.log"}


def running_below(path: Path) -> list[str]:
    """Processes that have the directory on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in words and str(os.getpid()) != entry.parent.name:
            found.append(words)
    return found


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "terminated")],
)
def test_an_interrupted_build_ends_at_once_and_says_so(
    tmp_path: Path, environment: dict[str, str], number: signal.Signals, status: int, says: str
) -> None:
    out = tmp_path / "out"
    process = start(out, environment)
    wait_for_step(process, "unpack packages")
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    assert says in err
    assert "Traceback" not in err
    assert visible(out) == set()
    assert list(out.glob(".new-*")) == []
    assert list((Path(environment["BUILD_OS_CACHE"]) / "scratch").glob("build-*")) == []
    assert running_below(tmp_path) == []


def test_a_killed_build_is_continued_by_the_next_with_the_same_bits(
    tmp_path: Path, environment: dict[str, str], demo: Path
) -> None:
    out = tmp_path / "out"
    expected = {kind: a["sha256"] for kind, a in json.loads(demo.read_text())["artifacts"].items()}
    finished = {a["path"] for a in json.loads(demo.read_text())["artifacts"].values()}
    for step in ("unpack packages", "units", "root file system", "disk", "hash artifacts"):
        process = start(out, environment)
        wait_for_step(process, step)
        process.kill()
        process.communicate()
        # Killed, not asked: whatever it had started is gone with it.
        deadline = time.monotonic() + 60
        while running_below(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert running_below(tmp_path) == []
        # After its last step it may be done before we strike.
        assert visible(out) <= finished | ({"build.json"} if step == "hash artifacts" else set())
    process = start(out, environment)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert list(out.glob(".new-*")) == []
    assert list((Path(environment["BUILD_OS_CACHE"]) / "scratch").glob("build-*")) == []
    made = {kind: a["sha256"] for kind, a in json.loads((out / "build.json").read_text())["artifacts"].items()}
    assert made == expected


def test_two_builds_at_once_into_one_directory_take_turns(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    first = start(out, environment)
    wait_for_step(first, "unpack packages")
    second = start(out, environment)
    errors = [process.communicate(timeout=600)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    assert f"waiting for process {first.pid}" in errors[1]
    assert "nothing to do" in errors[1]


def test_a_disk_that_is_too_small_is_refused_before_anything_is_built(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1) to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=64m none "$1" && shift && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(small)]
    command += [sys.executable, "-m", "builder", "build", str(DEMO), "-o", str(small / "out"), "--offline"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "left; a build needs" in done.stderr
    assert "Traceback" not in done.stderr
