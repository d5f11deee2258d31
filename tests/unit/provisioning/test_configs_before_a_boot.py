"""``check`` and ``run`` look at the image before they say that a machine would accept a config."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.provisioning.pytest_plugin import pytest_build_os_refusal
from tests.support.command import Outcome, run_command

pytestmark = pytest.mark.unit

SMALL = "name: small\nversion: 1.0.0\narch: amd64\n"
GOOD = "variant: buildos\nversion: 1.0.0\nhostname: a\n"
BAD = GOOD + "# as it was written\npasswd:\n  users:\n    - {name: core, groups: [docker]}\n"

BuildOs = Callable[..., Outcome]


@pytest.fixture
def build_os(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BuildOs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest needs its own
    Path("os.yaml").write_text(SMALL)
    os.utime("os.yaml", (1, 1))
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)
    return partial(run_command, capsys)


def test_a_config_that_is_right_by_itself_is_refused_where_the_image_cannot_do_it(
    build_os: BuildOs, build: Callable[..., Path]
) -> None:
    build()
    assert build_os("check", "--config", "good.yaml").err.splitlines()[0] == (
        "good.yaml: a machine of small 1 would accept it"
    )
    for command in (("check", "--config", "bad.yaml"), ("run", "--config", "bad.yaml")):
        outcome = build_os(*command)
        assert outcome.status == 2
        assert "bad.yaml:7:29: there is no group 'docker'" in outcome.err
        assert "would accept" not in outcome.err


def test_warnings_about_the_image_are_warnings(build_os: BuildOs, build: Callable[..., Path]) -> None:
    build()
    Path("odd.yaml").write_text(GOOD + "passwd:\n  users:\n    - {name: core, shell: /bin/zsh}\n")
    outcome = build_os("check", "--config", "odd.yaml")
    assert outcome.status == 0
    assert "warning: odd.yaml:6:27: there is no" in outcome.err
    assert build_os("check", "--strict", "--config", "odd.yaml").status == 2


def test_what_could_not_be_compared_is_said(build_os: BuildOs, build: Callable[..., Path]) -> None:
    said = build_os("check", "--config", "bad.yaml").err
    assert "bad.yaml: right by itself, and not compared with an image: there is no out/build.json" in said
    path = build()
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "artifacts": {}}))
    said = build_os("check", "--config", "bad.yaml").err
    assert "not compared with an image: out/build.json has no facts of its image" in said


def test_an_image_of_another_definition_is_none_to_compare_with(build_os: BuildOs, build: Callable[..., Path]) -> None:
    path = build()
    path.write_text(json.dumps({**json.loads(path.read_text()), "definition": "/other/os.yaml"}))
    said = build_os("check", "--config", "bad.yaml").err
    assert "not compared with an image: out/build.json is what /other/os.yaml has become" in said
    assert build_os("check", "--config", "bad.yaml", "--image", "out/build.json").status == 2


def test_a_definition_that_has_changed_since_is_said(build_os: BuildOs, build: Callable[..., Path]) -> None:
    build()
    later = Path("out/build.json").stat().st_mtime + 10
    os.utime("os.yaml", (later, later))
    assert "os.yaml has changed since out/build.json was built" in build_os("check", "--config", "good.yaml").err


def test_the_pytest_plugin_is_told_what_the_image_would_refuse(build_os: BuildOs, build: Callable[..., Path]) -> None:
    path = build()
    assert pytest_build_os_refusal(Path("good.yaml"), path) is None
    assert "bad.yaml:7:29: there is no group 'docker'" in str(pytest_build_os_refusal(Path("bad.yaml"), path))
    Path("bad.yaml").write_text(GOOD)
    assert pytest_build_os_refusal(Path("bad.yaml"), path) is None
    # A machine has no files beside its config.
    Path("local.yaml").write_text(GOOD + "storage:\n  files:\n    - {path: /etc/x, contents: {local: good.yaml}}\n")
    assert "local.yaml:6" in str(pytest_build_os_refusal(Path("local.yaml"), path))
