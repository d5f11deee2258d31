"""What ``pip install`` brings: the package works in a user's own directory, far from this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the wheel instead of the checkout."""
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(wheels), str(REPOSITORY)], check=True)
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(wheels.glob("build_os-*.whl"))) as wheel:
        wheel.extractall(site)
    # First on the path, so that it is found before the editable checkout.
    return {**os.environ, "PYTHONPATH": str(site)}


def build_os(*arguments: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builder", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_a_new_directory_checks_and_plans_out_of_the_box(tmp_path: Path, installed: dict[str, str]) -> None:
    home = tmp_path / "my os"
    home.mkdir()
    made = build_os("init", cwd=home, environment=installed)
    assert made.returncode == 0, made.stderr
    assert (home / "os.yaml").is_file()
    checked = build_os("check", "--config", "machines/first.yaml", cwd=home, environment=installed)
    assert checked.returncode == 0, checked.stderr
    assert "no problems" in checked.stderr


def test_a_new_directory_builds_with_the_shipped_features(
    tmp_path: Path, installed: dict[str, str], demo: Path
) -> None:
    home = tmp_path / "öwn os"  # a space and a letter outside ASCII, as home directories have them
    home.mkdir()
    assert build_os("init", cwd=home, environment=installed).returncode == 0
    built = build_os("build", cwd=home, environment=installed)
    assert built.returncode == 0, built.stderr
    assert Path(built.stdout.strip()) == Path("out/build.json")
    assert (home / "out" / "build.json").is_file()
    assert list((home / "out").glob("*.qcow2"))
    again = build_os("build", cwd=home, environment=installed)
    assert "nothing to do" in again.stderr
    # A wheel holds neither links nor modes; the image has to be the one that a checkout makes.
    checkout = build_os("build", "--out", "checkout", cwd=home, environment=dict(os.environ))
    assert checkout.returncode == 0, checkout.stderr
    assert hashes(home / "checkout") == hashes(home / "out")


def hashes(out: Path) -> dict[str, str]:
    artifacts = json.loads((out / "build.json").read_text(encoding="utf-8"))["artifacts"]
    return {name: each["sha256"] for name, each in artifacts.items()}
