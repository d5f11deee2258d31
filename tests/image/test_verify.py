"""``build-os verify``: the same bits in other surroundings, and a finger on the spot where they are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.core.store import Store

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
# Loaded by every Python whose path it is on, as sitecustomize.py.
NOISE = """
import os, time
import builder.outputs.disk as disk
from builder.stages.units import Units
from builder.tree.node import make_file

disk.LOADER_CONF += f"# {time.time_ns()}"
apply = Units.apply

def noisy(self, tree, context):
    tree = apply(self, tree, context)
    tree.put("/usr/share/where", make_file(os.getcwd(), origin="package:noise"))
    return tree

Units.apply = noisy
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the configs in a directory with a space and letters outside ASCII."""
    home = tmp_path / "mein Ørdner"
    shutil.copytree(REPOSITORY / "configs", home, ignore=shutil.ignore_patterns("*.lock"))
    return home


def verify(home: Path, definition: str, **environment: str) -> tuple[int, dict, str]:
    command = [sys.executable, "-m", "builder", "verify", definition, "--json"]
    done = subprocess.run(
        command, cwd=home, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_the_demo_is_the_same_everywhere(home: Path, demo: Path) -> None:
    text = (home / "demo.yaml").read_text()
    (home / "demo.yaml").write_text(text.replace("outputs: [qcow2]", "outputs: [qcow2, raw, oci]"))
    status, report, err = verify(home, "demo.yaml")
    assert status == 0, err
    assert {row["name"] for row in report["compared"]} == {
        *("qcow2", "raw", "oci", "uki", "kernel", "initrd", "root", "sbom", "facts", "build.json")
    }
    assert all(row["first"] == row["second"] for row in report["compared"])
    # And what was built before, elsewhere, is the same again.
    built = json.loads(demo.read_text())["artifacts"]["qcow2"]["sha256"]
    assert next(row["first"] for row in report["compared"] if row["name"] == "qcow2") == built
    # The kernel of this machine may refuse some, but not these.
    surroundings = report["surroundings"]
    assert {name for name, (first, second) in surroundings.items() if first != second} >= {
        *("working directory", "TMPDIR", "HOME", "PATH", "umask", "TZ", "LANG", "PYTHONHASHSEED", "processors"),
        *("clock", "directory order", "caches"),
    }
    assert surroundings["clock"][1] > surroundings["clock"][0]


def test_a_container_is_the_same_everywhere(home: Path) -> None:
    status, report, err = verify(home / "containers", "web.yaml")
    assert status == 0, err
    assert {row["name"] for row in report["compared"]} == {"oci", "sbom", "build.json"}


def test_what_does_not_repeat_is_named(home: Path, tmp_path: Path, store: Store, demo: Path) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "sitecustomize.py").write_text(NOISE)
    private = tmp_path / "store"
    private.mkdir()
    for room in ("blobs", "tools", "indexes", "packs"):
        (private / room).symlink_to(store.root / room)
    (home / "small.yaml").write_text("name: small\nversion: 1.0.0\nfeatures: [base, python]\n")
    paths = os.pathsep.join([str(tmp_path / "noise"), str(REPOSITORY)])
    status, report, err = verify(home, "small.yaml", PYTHONPATH=paths, BUILD_OS_CACHE=str(private))
    assert status == 7, err
    assert "Traceback" not in err
    assert "root: EROFS: /usr/share/where: content differs, from package:noise, in stage units" in err
    assert "qcow2: partition 1 (esp): /loader/loader.conf: its bytes differ, in stage disk" in err
    assert "uki: .cmdline: it names the root's hash" in err
    same = {row["name"] for row in report["compared"] if row["first"] == row["second"]}
    assert {"kernel", "initrd"} <= same
    assert not same & {"root", "uki", "qcow2", "sbom", "build.json"}, "the bill names the root's hash"
    assert list((private / "scratch").iterdir()) == []
