"""docs/scale.md, "On other machines": from one definition to a matrix on two workers of this host, as it is typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.farm import open_store, wait_for

pytestmark = pytest.mark.image

PAGE = Path(__file__).parents[2] / "docs/scale.md"
# One architecture, and one format that is made quickly, of those that the page has.
SMALLER = (
    ("arch: [amd64, arm64]", "arch: [amd64]"),
    ("outputs: [qcow2, [gce, aws]]", "outputs: [raw]"),
    ("exclude:\n- {arch: arm64, outputs: gce}\n", ""),
)
PROGRAMS = {"build-os": ("builder",), "dask": ("distributed.cli.dask_scheduler",)}
STAYS = {"dask": "Scheduler at", "worker": "works for"}  # what each says when it can be used


class Terminals:
    """Where the page's lines are typed, each in one of its own."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.directory, self.store, self.stack = directory, store, ExitStack()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]

    def type(self, line: str) -> str:
        """Type one; returns what it says. One that stays is left running when it can be used."""
        line = line.replace("8786", str(self.port)).replace("/tmp/", f"{self.directory}/")
        words = shlex.split(line)
        own = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        words = words[len(own) :]
        name = next((name for name in STAYS if name in words[:2]), "")
        argv = [sys.executable, "-m", *PROGRAMS[words[0]], *(word for word in words[1:] if word != "scheduler")]
        argv += ["--port", str(self.port), "--no-dashboard"] if name == "dask" else ["--progress", "plain"]
        place = own.get("BUILD_OS_CACHE", f"{self.directory}/client")
        environment = {**os.environ, "BUILD_OS_CACHE": str(open_store(Path(place), self.store))}
        log = self.directory / f"{len(list(self.directory.glob('*.log')))}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(argv, cwd=self.directory, stdout=file, stderr=file, env=environment)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        if name:
            wait_for(lambda: STAYS[name] in log.read_text(errors="replace"), log)
        else:
            assert process.wait(300) == 0, log.read_text(errors="replace")
        return log.read_text(errors="replace")


@pytest.fixture
def terminals(tmp_path: Path, store: Store) -> Iterator[Terminals]:
    made = Terminals(tmp_path, store)
    with made.stack:
        yield made


def test_one_definition_becomes_a_matrix_on_two_workers(terminals: Terminals) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"```yaml\n# file: (os\.yaml|matrix\.yaml)\n(.*?)```", text, re.DOTALL):
        for before, after in SMALLER if name == "matrix.yaml" else ():
            assert before in content
            content = content.replace(before, after)
        (terminals.directory / name).write_text(content)
    section = text.partition("## On other machines")[2]
    lines = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1].splitlines()  # type: ignore[index]
    assert [line.split()[-1] for line in lines[2:4]] == ["1", "1"]  # two workers
    said = [terminals.type(line) for line in lines if " test " not in line]  # tests/boot/test_tests_on_workers.py
    assert "2 of 2 cells are well" in said[-1]
    data = json.loads((terminals.directory / "out/matrix/matrix.json").read_text())
    assert {row["state"] for row in data["cells"]} == {"up to date"}
    assert all(row["last"]["build"]["worker"] for row in data["cells"])
    assert "2 up to date" in terminals.type("build-os matrix plan")
