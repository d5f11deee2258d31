"""The same bits for anybody without a network: an ordinary user, root with two capabilities; from a carried store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.users import UID, become

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
# Becomes root of a container that allows no namespace, with CAP_SYS_CHROOT alone, and executes its arguments.
WITHOUT_NAMESPACES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ids = os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x20000 | 0x40000000):
    sys.exit(77)
for name, text in (("setgroups", "deny"), ("uid_map", f"0 {ids[0]} 1"), ("gid_map", f"0 {ids[1]} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
for capability in range(41):
    if capability != 18:
        libc.prctl(24, capability, 0, 0, 0)
libc.prctl(38, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def place(demo: Path) -> Iterator[Path]:
    """A directory that everybody can read, with the demo's configs and what it downloads, carried there as one file."""
    with tempfile.TemporaryDirectory(prefix="build-os-any-user-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        shutil.copytree(REPOSITORY / "configs", place / "ünsere configs")
        archive = place / "debs.tar"
        export = build_os("store", "export", archive, REPOSITORY / "configs" / "demo.yaml", "--offline")
        assert export.returncode == 0, export.stderr
        environment = {**os.environ, "BUILD_OS_CACHE": str(place / "carried")}
        imported = build_os("store", "import", archive, env=environment)
        assert imported.returncode == 0, imported.stderr
        assert "all verified" in imported.stderr
        archive.unlink()
        yield place


def build_os(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builder", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("kind", "language"), [("user", "tr_TR.UTF-8"), ("root of a container", "C")])
def test_the_demo_is_the_same_for(kind: str, language: str, place: Path, demo: Path) -> None:
    home, work = place / f"home of {kind}", place / f"wörk of {kind}"
    for path in (home, work, work / "store", work / "tmp"):
        path.mkdir()
    (work / "store" / "blobs").symlink_to(place / "carried" / "blobs")
    home.chmod(0o555)
    if kind == "user":
        for path in (work, work / "store", work / "tmp"):
            os.chown(path, UID, UID)
    environment = {
        "PATH": "",
        "HOME": str(home),
        "TMPDIR": str(work / "tmp"),
        "LANG": language,
        "LC_ALL": language,
        "BUILD_OS_CACHE": str(work / "store"),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def as_kind(*words: object) -> subprocess.CompletedProcess[str]:
        command = become(kind, sys.executable, "-P", *words)
        return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)

    probe = as_kind("-c", "import builder.cli")
    if probe.returncode != 0:
        pytest.skip(f"cannot become {kind} with this Python: {probe.stderr[-200:] or probe.returncode}")
    done = as_kind("-m", "builder", "build", place / "ünsere configs" / "demo.yaml", "--offline", "-o", "öut")
    assert done.returncode == 0, done.stderr
    made = json.loads((work / "öut" / "build.json").read_text())["artifacts"]
    expected = json.loads(demo.read_text())["artifacts"]
    assert {name: a["sha256"] for name, a in made.items()} == {name: a["sha256"] for name, a in expected.items()}
    assert list(home.iterdir()) == []


def test_where_no_namespace_is_allowed_containers_are_assembled_and_a_system_says_what_it_needs(
    place: Path, demo: Path, tmp_path: Path, store: Store
) -> None:
    web = place / "ünsere configs" / "containers" / "web.yaml"
    lock = build_os("lock", web)
    assert lock.returncode == 0, lock.stderr
    assert build_os("build", web, "-o", tmp_path / "ours").returncode == 0
    private = tmp_path / "store"
    private.mkdir()
    (private / "blobs").symlink_to(store.root / "blobs")
    environment = {**os.environ, "BUILD_OS_CACHE": str(private), "PATH": "", "PYTHONPATH": str(REPOSITORY)}

    def inside(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_NAMESPACES, sys.executable, "-P", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    # What is proven here needs a kernel that lets us take namespaces away, which takes one.
    assert inside("-c", "import builder.cli").returncode == 0, "this machine allows no namespace to begin with"
    done = inside("-m", "builder", "build", web, "--offline", "-o", "theirs")
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        json.loads((tmp_path / name / "build.json").read_text())["artifacts"] for name in ("ours", "theirs")
    )
    assert {name: a["sha256"] for name, a in theirs.items()} == {name: a["sha256"] for name, a in ours.items()}
    done = inside("-m", "builder", "build", place / "ünsere configs" / "demo.yaml", "--offline", "-o", "system")
    assert done.returncode == 3, done.stderr
    assert "this machine does not let us enter the tools tree" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr
