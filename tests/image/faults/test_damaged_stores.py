"""What lies in the store is checked when it is used: damage costs a rebuild, never a wrong image."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_system
from builder.core.console import QuietConsole
from builder.core.store import Store
from tests.image.faults.conftest import Project

pytestmark = pytest.mark.image

DEMO = Path(__file__).parent.parent.parent.parent / "configs" / "demo.yaml"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    flip(target)
    path.symlink_to(target)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2),
    "nothing in it": lambda path: os.truncate(path, 0),
    "a link in its place": replace_by_link,
    "another version's": lambda path: path.write_bytes(b"build-os something 99\n" + path.read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "entry",
    [
        "blobs/sha256/*/*",
        "packs/*.tar",
        "packs/*.seal",
        "indexes/*",
        "partial/*",
        "tools/*/etc/group",
        "tools/*.seal",
    ],
)
def test_a_damaged_entry_is_made_again(project: Project, entry: str, damage: str) -> None:
    ending = project.run()
    assert ending.status == 0, ending.said
    expected = project.artifact()
    if entry.startswith("blobs"):  # they are only read where there is no pack
        shutil.rmtree(project.store / "packs")
    elif entry.startswith("indexes"):
        project.lock.unlink()
    elif entry.startswith("partial"):
        shutil.rmtree(project.store / "blobs")
        shutil.rmtree(project.store / "packs")
        (project.store / "partial").mkdir(exist_ok=True)
        for deb in project.debs.values():
            (project.store / "partial" / deb.sha256).write_bytes(deb.data)
        if damage == "a link in its place":
            pytest.skip("a link there is refused, not followed: see test_downloads.py")
    paths = [path for path in project.store.glob(entry) if path.is_file()]
    assert paths
    good = {path: path.read_bytes() for path in paths if entry.startswith("tools")}
    for path in paths:
        DAMAGE[damage](path)
    project.forget()
    ending = project.run()
    assert ending.status == 0, ending.said
    assert project.artifact() == expected
    assert "Traceback" not in ending.said
    for path in good:
        assert not path.is_symlink()
    if entry.endswith("group"):
        assert {path: path.read_bytes() for path in good} == good
        assert "making it again" in ending.said


# --- an image: its stages and outputs --------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """The demo, built into a store of its own, and what its artifacts are."""

    store: Path
    expected: dict[str, str]

    def build(self, out: Path) -> tuple[dict[str, str], str]:
        """Build again; the artifacts' hashes by name, and what was said."""
        with closing(QuietConsole(out / "build.log")) as console:
            build_system(BuildRequest(DEMO, out, Store.open(self.store), console, offline=True))
        made = json.loads((out / "build.json").read_text())["artifacts"]
        return {name: a["sha256"] for name, a in made.items()}, (out / "build.log").read_text()


@pytest.fixture(scope="module")
def system(demo: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> System:
    place = tmp_path_factory.mktemp("system")
    (place / "store").mkdir()
    for shared in ("blobs", "tools"):
        (place / "store" / shared).symlink_to(store.root / shared)
    made = json.loads(demo.read_text())["artifacts"]
    found = System(place / "store", {name: a["sha256"] for name, a in made.items()})
    assert found.build(place / "out")[0] == found.expected
    return found


def flip_unseen(path: Path) -> None:
    """As a disk does it: nothing but the content tells."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_where_it_is_needed(path: Path) -> None:
    """What indexes are kept for is another build of packages."""
    flip_unseen(path)
    shutil.rmtree(path.parents[2] / "stages", ignore_errors=True)


@pytest.mark.parametrize(
    ("entry", "harm", "said"),
    [
        ("stages/*.tree", flip_unseen, "running its stages again"),
        ("stages/*.data", flip_unseen, "running its stages again"),
        ("stages/*.seal", DAMAGE["another version's"], ""),
        ("packs/*.tar", DAMAGE["a flipped bit"], "unpacking it again"),
        ("outputs/*/*", flip_unseen, "making it again"),
        ("derived/*/*", flip_where_it_is_needed, "making it again"),
    ],
)
def test_an_image_is_never_made_of_damaged_entries(
    system: System, tmp_path: Path, entry: str, harm: Callable[[Path], object], said: str
) -> None:
    for path in system.store.glob("presets/*.seal"):
        flip(path)
    paths = list(system.store.glob(entry))
    assert paths
    for path in paths:
        harm(path)
    made, log = system.build(tmp_path / "out")
    assert made == system.expected
    assert said in log
