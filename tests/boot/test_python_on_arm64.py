"""Compiled wheels of another architecture, locked and unpacked here and imported there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build_text
from tests.support.python_packages import PACKAGES

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # downloads 100 MB of wheels, and imports them by emulation

OUT = Path(__file__).parents[2] / "out" / "boot-tests"
DEFINITION = """\
name: world
version: 1.0.0
arch: arm64
features: [base]
packages: [libstdc++6]
outputs: [qcow2]
disk: {{slot: 1500M, size: 8G}}
python:
  world:
    requirements: [{packages}]
"""
IMPORT_ALL = """\
import importlib, json, platform, sys, time
done = {"machine": platform.machine(), "failed": {}, "files": {}}
for name in json.loads(sys.argv[1]):
    try:
        done["files"][name] = getattr(importlib.import_module(name), "__file__", None)
    except Exception as error:
        done["failed"][name] = repr(error)
import numpy
done["sum"] = int(numpy.arange(1000).sum())
done["seconds"] = time.process_time()
print(json.dumps(done))
"""


def test_each_compiled_wheel_is_imported_by_a_machine_of_its_architecture(store: Store) -> None:
    listed = ", ".join(f"'{requirement}'" for requirement in PACKAGES)
    image = build_text(DEFINITION.format(packages=listed), OUT / "python-arm64-image", store)
    with booted(image, OUT / "python-arm64", store, seconds=300, memory=2048) as machine:
        python = "/usr/lib/python-environments/world/bin/python"
        done = json.loads(machine.succeed(python, "-I", "-c", IMPORT_ALL, json.dumps([*PACKAGES.values()])))
    print(f"\n{len(done['files'])} packages imported in {done['seconds']:.1f} CPU s of the guest")
    assert done["failed"] == {}
    assert done["machine"] == "aarch64"
    assert len(done["files"]) == len(PACKAGES) >= 40
    assert done["sum"] == 499500
    assert all("/world/lib/python3.13/site-packages/" in file for file in done["files"].values() if file)
