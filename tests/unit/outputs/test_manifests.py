"""build.json: what it says, and when it is still true."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from builder.core.image import read_image
from builder.outputs.manifest import Artifact, Manifest, Timings, is_current, read_manifest

pytestmark = pytest.mark.unit


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A finished build in ``out/``; returns its build.json."""
    out = tmp_path / "out"
    out.mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("demo.qcow2", "demo.efi"):
        (out / name).write_text(name)
    manifest = Manifest(
        name="demo",
        version="1.0.0",
        arch="amd64",
        features=("base", "ssh"),
        definition="/configs/demo.yaml",
        lock_sha256="ab",
        source_date_epoch=0,
        roothash="cd",
        command_line="roothash=cd ro",
        tools=str(tools),
        key="the key",
        scripts={},
        artifacts={
            "qcow2": Artifact.measure(out / "demo.qcow2", "qcow2"),
            "uki": Artifact.measure(out / "demo.efi", "efi"),
        },
        timings=Timings(lock=0.5, stages={"packages": 2.0}),
    )
    manifest.write(out / "build.json")
    return out / "build.json"


def test_the_manifest_says_everything_under_its_contracts_names(build: Path) -> None:
    data = json.loads(build.read_text())
    assert data["schema"] == 1
    assert data["features"] == ["base", "ssh"]
    assert data["artifacts"]["qcow2"] == {
        "path": "demo.qcow2",
        "size": 10,
        "sha256": hashlib.sha256(b"demo.qcow2").hexdigest(),
        "format": "qcow2",
    }
    assert data["timings"] == {"lock": 0.5, "fetch": 0.0, "tools": 0.0, "stages": {"packages": 2.0}, "outputs": {}}


def test_the_virtual_machines_understand_it(build: Path) -> None:
    image = read_image(build)
    assert (image.name, image.version, image.arch, image.roothash) == ("demo", "1.0.0", "amd64", "cd")
    assert image.choose_disk() == (build.parent / "demo.qcow2", "qcow2")


def test_a_build_is_current_while_nothing_was_touched(build: Path) -> None:
    assert is_current(build, "the key")


def test_a_build_of_other_inputs_is_not_current(build: Path) -> None:
    assert not is_current(build, "another key")


def truncate(path: Path) -> None:
    status = path.stat()
    path.write_text("x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touch_later(path: Path) -> None:
    later = time.time_ns() + 10**9
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("name", ["demo.qcow2", "demo.efi"])
@pytest.mark.parametrize("harm", [Path.unlink, truncate, touch_later])
def test_a_build_whose_files_were_changed_is_not_current(build: Path, name: str, harm: object) -> None:
    harm(build.parent / name)
    assert not is_current(build, "the key")


def test_a_build_whose_tools_are_gone_is_not_current(build: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").rmdir()
    assert not is_current(build, "the key")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "key": "the key"}', '{"key": "the key"}'])
def test_what_is_no_manifest_of_ours_is_not_current(build: Path, text: str) -> None:
    build.write_text(text)
    assert read_manifest(build) is None
    assert not is_current(build, "the key")


def test_a_build_that_is_not_there_is_not_current(tmp_path: Path) -> None:
    assert not is_current(tmp_path / "build.json", "the key")
