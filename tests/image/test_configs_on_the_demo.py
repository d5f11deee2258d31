"""Configs checked against a real image, by systemd's own program too: what the page shows, and no false alarms."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Blocks of ``docs/checking.md`` by language; its files are in the working directory, with the demo's build."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("build.json", json.loads(demo.read_text())["artifacts"]["facts"]["path"]):
        shutil.copyfile(demo.parent / name, out / name)
    shutil.copyfile(REPOSITORY / "configs/machines/demo.yaml", tmp_path / "demo.yaml")
    blocks: dict[str, list[str]] = {}
    for language, text in FENCE.findall((REPOSITORY / "docs/checking.md").read_text()):
        blocks.setdefault(language, []).append(text)
    name, _, text = blocks["yaml"][0].partition("\n")
    (tmp_path / name.removeprefix("# file: ")).write_text(text)
    return blocks


def build_os(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builder", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_page_shows_what_is_found(page: dict[str, list[str]]) -> None:
    done = build_os("config", "check", "--image", "out/build.json", "web-1.yaml")
    assert done.returncode == 2
    assert done.stdout + done.stderr == page["text"][0]


def test_the_page_shows_what_will_be_done(page: dict[str, list[str]]) -> None:
    done = build_os("config", "plan", "--image", "out/build.json", "demo.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == page["text"][1]


def test_a_build_and_its_facts_are_enough(page: dict[str, list[str]]) -> None:
    """Without the tools tree all but systemd's own opinion is there, and a note says so."""
    path = Path("out/build.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "tools": "/nonexistent"}))
    done = build_os("config", "check", "--json", "--image", "out/build.json", "web-1.yaml")
    data = json.loads(done.stdout)
    assert ["not checked by systemd itself" in each for each in data["notes"]] == [True]
    assert len(data["entries"]) == page["text"][0].count(".yaml:") - 2


def test_the_demo_s_own_machine_raises_no_alarm(page: dict[str, list[str]]) -> None:
    done = build_os("config", "check", "--strict", "--json", "--image", "out/build.json", "demo.yaml")
    assert json.loads(done.stdout) == {"file": "demo.yaml", "verdict": "ok", "entries": [], "notes": []}
