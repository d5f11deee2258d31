"""A matrix with real builds and a real git: what cells share is made once, one that fails stops no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from builder.core.store import Store
from builder.matrix.cells import load_matrix
from builder.matrix.changes import list_changed
from tests.image.test_interrupted_builds import environment, running_below
from tests.unit.matrix.conftest import write_lock

pytestmark = pytest.mark.image

__all__ = ["environment"]
REPOSITORY = Path(__file__).parent.parent.parent


def write_matrix(directory: Path, text: str) -> Path:
    """A matrix of the demo, whose lock is there."""
    path = directory / "matrix.yaml"
    definition = os.path.relpath(REPOSITORY / "configs/demo.yaml", directory)
    path.write_text(f"definitions: [{definition}]\n{text}")
    return path


def run_matrix(*words: object, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any], str]:
    """Status, ``matrix.json``, and what was said."""
    argv = [sys.executable, "-m", "builder", "matrix", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    return done.returncode, json.loads(Path(done.stdout.strip()).read_text()), done.stderr


@pytest.mark.usefixtures("demo")
def test_cells_share_their_stages_and_one_that_is_refused_stops_none(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    matrix = write_matrix(tmp_path, "outputs: [raw, gce]\nfeatures: {plain: [], wrong: [nothing]}\n")
    status, data, said = run_matrix("build", matrix, "-o", tmp_path / "out", "--offline", env=environment)
    assert status == 2, said
    states = {row["id"]: row["state"] for row in data["cells"]}
    assert states == {
        "demo-raw-plain": "up to date",
        "demo-gce-plain": "up to date",
        "demo-raw-wrong": "refused",
        "demo-gce-wrong": "refused",
    }
    first, second = (row["last"]["build"] for row in data["cells"] if row["id"].endswith("plain"))
    assert "packages" in first["ran"]
    assert "packages" in second["reused"]  # what the first has made
    built = json.loads((tmp_path / "out/demo-gce-plain/build.json").read_text())
    assert (tmp_path / "out/demo-gce-plain" / built["artifacts"]["gce"]["path"]).exists()
    assert "demo-raw-plain" in (tmp_path / "out/index.html").read_text()

    status, data, said = run_matrix("build", matrix, "-o", tmp_path / "out", "--only", "*-plain", env=environment)
    assert (status, "build 0 of 2 cells" in said) == (0, True), said


@pytest.mark.usefixtures("demo")
def test_a_cell_is_the_same_when_it_is_built_again_elsewhere(tmp_path: Path, store: Store) -> None:
    """In the store of other tests, which has the stages that its first build shares with them."""
    matrix = write_matrix(tmp_path, "outputs: [raw]\nvariables: {one: {a: 1}}\n")
    words = ("verify", matrix, "-o", tmp_path / "out", "--offline")
    status, data, said = run_matrix(*words, env={**os.environ, "BUILD_OS_CACHE": str(store.root)})
    assert status == 0, said
    (cell,) = data["cells"]
    assert (cell["id"], cell["state"], cell["last"]["verify"]["status"]) == ("demo-raw-one", "up to date", 0)
    assert "second build" in (tmp_path / "out/demo-raw-one/output.log").read_text()
    assert "<td>same bits</td>" in (tmp_path / "out/index.html").read_text()


@pytest.mark.usefixtures("demo")
def test_ctrl_c_ends_every_cell_and_leaves_nothing_half_made(tmp_path: Path, environment: dict[str, str]) -> None:
    matrix = write_matrix(tmp_path, "outputs: [raw, gce]\nvariables: {one: {a: 1}, two: {a: 2}}\n")
    argv = [sys.executable, "-m", "builder", "matrix", "build", matrix, "-o", tmp_path / "out", "--offline"]
    process = subprocess.Popen([*map(str, argv), "--jobs", "2"], env=environment, stderr=subprocess.PIPE, text=True)
    log = next(iter(()), None)
    while process.poll() is None and log is None:
        log = next((path for path in tmp_path.glob("out/*/build.log") if "unpack" in path.read_text()), None)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert running_below(tmp_path) == []
    assert list(tmp_path.glob("out/*/build.json")) == []


def test_only_cells_that_would_be_others_count_as_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    store = Store.open(tmp_path / "store")
    for name in ("one", "two"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"name: {name}\nversion: 1.0.0\narch: amd64\nfeatures: [base]\n")
        write_lock(path, path.with_suffix(".lock"))
    (tmp_path / "matrix.yaml").write_text("definitions: [one.yaml, two.yaml]\noutputs: [raw, gce]\n")
    (tmp_path / ".gitignore").write_text("store/\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")

    def changed() -> list[str]:
        made = load_matrix(tmp_path / "matrix.yaml")
        return [cell.id for cell in list_changed(made.cells, made.path, "HEAD", store)]

    assert changed() == []
    (tmp_path / "notes.txt").write_text("nothing that is built\n")
    (tmp_path / "two.yaml").write_text("# the same\n" + (tmp_path / "two.yaml").read_text())
    assert changed() == []
    (tmp_path / "two.yaml").write_text("name: two\nversion: 1.0.1\narch: amd64\nfeatures: [base]\n")
    assert changed() == ["two-raw", "two-gce"]
    (tmp_path / "matrix.yaml").write_text("definitions: [one.yaml, two.yaml]\noutputs: [raw, gce, aws]\n")
    assert changed() == ["one-aws", "two-raw", "two-gce", "two-aws"]
