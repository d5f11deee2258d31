"""A maintainer script that nobody speaks for, run in a sandbox because the definition says so."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

DEFINITION = """\
kind: container
name: boxed
version: 1.0.0
packages: [{package}]
essential: true
entrypoint: [/bin/sh]
scripts: {{{package}: sandbox}}
"""


def build(directory: Path, package: str) -> subprocess.CompletedProcess[str]:
    definition = directory / "boxed.yaml"
    definition.write_text(DEFINITION.format(package=package))
    command = [Path(sys.executable).with_name("build-os"), "build", definition, "-o", directory / "out"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def layers(archive: Path) -> list[tarfile.TarInfo]:
    found: list[tarfile.TarInfo] = []
    with tarfile.open(archive) as outer:
        for member in outer.getmembers():
            if member.name.startswith("blobs/") and member.size > 1 << 20:
                with tarfile.open(fileobj=outer.extractfile(member)) as layer:
                    found += layer.getmembers()
    return found


def test_what_a_sandboxed_script_makes_is_in_the_image_and_nothing_of_the_sandbox(tmp_path: Path) -> None:
    done = build(tmp_path, "smartmontools")
    assert done.returncode == 0, done.stderr
    assert "the decision can go" not in done.stderr
    members = {member.name: member for member in layers(tmp_path / "out/boxed.oci.tar")}
    made = members["var/lib/smartmontools/drivedb/drivedb.h"]
    assert (made.uid, made.gid, made.mtime) == (0, 0, 0)
    assert not [name for name in members if name.startswith((".build-os", "dev/", "proc/", "tmp/"))]
    assert json.loads((tmp_path / "out/build.json").read_text())["scripts"] == {"smartmontools": "sandbox"}


def test_a_script_that_gives_files_away_is_told_to_be_declared(tmp_path: Path) -> None:
    done = build(tmp_path, "privoxy")
    assert done.returncode == 2, done.stderr
    assert "scripts: privoxy:" in done.stderr
    assert "{effects: [...]}" in done.stderr
