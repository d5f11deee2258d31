"""``build-os config``: what people and programs get from it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from firstboot.config.document import read
from tests.support.command import Outcome, run_command

pytestmark = pytest.mark.unit

FCOS = "variant: fcos\nversion: 1.6.0\n"


Config = Callable[..., Outcome]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Config:
    """``config("check", "machine.yaml")`` in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "cache"))

    return partial(run_command, capsys, "config")


def write(name: str, text: str | dict[str, Any]) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return name


def test_yaml_becomes_ignition_with_the_files_beside_it(config: Config) -> None:
    write("files/motd", "hello\n" * 100)
    name = write("m.yaml", FCOS + "storage: {files: [{path: /etc/motd, mode: 0644, contents: {local: motd}}]}\n")
    outcome = config("compile", "--files-dir", "files", name)
    data = json.loads(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    file = data["storage"]["files"][0]
    assert (data["ignition"]["version"], file["contents"]["compression"]) == ("3.5.0", "gzip")
    assert file["contents"]["source"].startswith("data:;base64,H4sI")
    again = config("compile", "--pretty", "-d", "files", name)
    assert json.loads(again.out) == data
    assert again.out.count("\n") > 10


def test_warnings_are_told_and_stop_a_strict_compile(config: Config) -> None:
    name = write("m.yaml", FCOS + "bogus: 1\n")
    lax, strict = config("compile", name), config("compile", "--strict", name)
    assert lax.status == 0
    assert "m.yaml:3:1: warning: unknown setting" in lax.err
    assert strict.status == 2
    assert strict.out == ""


def test_errors_of_all_kinds_stop_a_compile(config: Config) -> None:
    name = write("m.yaml", FCOS + "storage: {files: [{path: a}, {path: /b, contents: {local: x}}]}\n")
    outcome = config("compile", name)
    assert outcome.status == 2
    assert outcome.err.count("m.yaml:3:") == 2
    assert "--files-dir" in outcome.err


def test_programs_get_one_object_a_file(config: Config) -> None:
    names = [
        write("good.ign", {"ignition": {"version": "3.4.0"}}),
        write("odd.ign", {"ignition": {"version": "3.4.0"}, "bogus": 1}),
        write("bad.yaml", FCOS + "storage:\n  files:\n    - path: a\n"),
        write("none.ign", ""),
    ]
    outcome = config("check", "--json", *names)
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert outcome.status == 2
    assert [(row["file"], row["verdict"]) for row in rows] == [
        ("good.ign", "ok"),
        ("odd.ign", "warn"),
        ("bad.yaml", "error"),
        ("none.ign", "error"),
    ]
    entry = rows[2]["entries"][0]
    assert {key: entry[key] for key in ("kind", "path", "line", "col")} == {
        "kind": "error",
        "path": "$.storage.files.0.path",
        "line": 5,
        "col": 13,
    }


def test_a_check_reads_standard_input_and_draws_for_people(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = config("check", write("odd.ign", {"ignition": {"version": "3.4.0"}, "bogus": 1}))
    assert outcome.status == 0
    assert outcome.out == "odd.ign: warn\n"
    assert "odd.ign:1:36: warning: unknown setting" in outcome.err
    assert config("check", "--strict", "odd.ign").status == 2
    assert config("check", "missing.ign").status == 2


def test_configs_are_merged_and_the_last_one_wins(config: Config) -> None:
    one = write("a.ign", {"ignition": {"version": "3.0.0"}, "passwd": {"users": [{"name": "u", "uid": 1}]}})
    other = write("b.yaml", FCOS + "passwd: {users: [{name: u, uid: 2}, {name: v}]}\n")
    data = json.loads(config("merge", one, other).out)
    assert data["passwd"]["users"] == [{"name": "u", "uid": 2}, {"name": "v"}]


def test_configs_that_make_no_sense_together_are_refused_at_the_line_that_says_it(config: Config) -> None:
    one = write("a.ign", {"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/a", "user": {"id": 1}}]}})
    other = write("b.yaml", FCOS + "storage: {files: [{path: /a, user: {name: u}}]}\n")
    outcome = config("merge", one, other)
    assert outcome.status == 2
    assert outcome.err.startswith("b.yaml:3:")


def test_ignition_becomes_yaml_that_compiles_to_the_same(config: Config) -> None:
    original = {
        "ignition": {"version": "3.4.0", "config": {"merge": [{"source": "https://example.org/c.ign"}]}},
        "storage": {
            "files": [
                {"path": "/etc/a", "mode": 0o644, "contents": {"source": "data:,one%0Atwo%0A", "compression": ""}},
                {"path": "/etc/0o644", "contents": {"source": "data:;base64,/w==", "compression": ""}},
            ]
        },
        "passwd": {"users": [{"name": "yes", "uid": 7, "sshAuthorizedKeys": ["k"]}]},
    }
    name = write("m.ign", original)
    outcome = config("convert", name)
    assert outcome.status == 0
    assert "mode: 0644" in outcome.out
    assert "inline: |\n          one\n          two\n" in outcome.out
    assert json.loads(config("convert", write("m.yaml", outcome.out)).out) == original
    strict = config("convert", "--variant", "flatcar", name)
    assert strict.out.startswith("variant: flatcar\nversion: 1.1.0\n")


def test_what_a_variant_cannot_say_is_not_converted(config: Config) -> None:
    name = write("m.ign", {"ignition": {"version": "3.4.0"}, "kernelArguments": {"shouldExist": ["quiet"]}})
    outcome = config("convert", "--variant", "r4e", name)
    assert (outcome.status, outcome.out) == (2, "")
    assert "r4e 1.1.0 cannot say all of this" in outcome.err
    none = config("convert", "--variant", "flatcar", write("old.ign", {"ignition": {"version": "3.0.0"}}))
    assert "no version of flatcar compiles to Ignition 3.0.0" in none.err


def test_a_machine_config_is_yaml_and_not_for_a_machine(config: Config) -> None:
    text = (
        "variant: openshift\nversion: 4.19.0\n"
        "metadata: {name: m, labels: {machineconfiguration.openshift.io/role: worker}}\n"
        "openshift: {fips: true}\n"
    )
    outcome = config("compile", write("m.yaml", text))
    assert outcome.status == 0
    assert "kind: MachineConfig\n" in outcome.out
    assert "fips: true\n" in outcome.out
    assert read(text, "m").wrap is not None


def test_a_thousand_configs_are_checked_in_seconds() -> None:
    files = "".join(f"    - {{path: /etc/f{each}, mode: 0644, contents: {{inline: line}}}}\n" for each in range(20))
    text = FCOS + "storage:\n  files:\n" + files + "passwd: {users: [{name: a}, {name: b}]}\n"
    started = time.process_time()
    for _ in range(100):
        assert read(text, "x").problems == ()
    assert (time.process_time() - started) * 10 < 10


FILE = {"path": "/a", "mode": 0o644, "contents": {"source": "data:,x"}}


@pytest.mark.parametrize(
    ("more", "version"),
    [
        ({}, "3.0.0"),
        ({"passwd": {"users": [{"name": "u", "shouldExist": False}]}}, "3.2.0"),
        ({"kernelArguments": {"shouldExist": ["quiet"]}}, "3.3.0"),
        ({"storage": {"files": [{**FILE, "mode": 0o4755}]}}, "3.6.0"),
    ],
)
def test_what_is_merged_is_of_the_first_version_that_can_say_it(
    config: Config, more: dict[str, Any], version: str
) -> None:
    one = write("a.ign", {"ignition": {"version": "3.0.0"}, "storage": {"files": [FILE]}})
    other = write("b.ign", {"ignition": {"version": "3.6.0"}, **more})
    lowest = json.loads(config("merge", one, other).out)
    assert lowest["ignition"]["version"] == version
    chosen = json.loads(config("merge", "--version", "3.6.0", one, other).out)
    assert {**chosen, "ignition": lowest["ignition"]} == lowest
    assert chosen["ignition"]["version"] == "3.6.0"


def test_what_only_our_own_variant_can_say_survives_a_merge(config: Config) -> None:
    archive = f"{{path: /opt/x, source: https://example.org/x, verification: {{hash: sha256-{'0' * 64}}}}}"
    own = write("own.yaml", f"variant: buildos\nversion: 1.0.0\nstorage: {{archives: [{archive}]}}\n")
    data = json.loads(config("merge", own).out)
    assert data["ignition"]["version"].endswith("+buildos")
    assert data["storage"] == json.loads(config("compile", own).out)["storage"]
    assert json.loads(config("merge", "--version", "3.6.0", own).out)["ignition"]["version"] == "3.6.0+buildos"


def test_a_version_that_cannot_say_all_of_it_says_what(config: Config) -> None:
    one = write("a.ign", {"ignition": {"version": "3.6.0"}, "kernelArguments": {"shouldExist": ["quiet"]}})
    outcome = config("merge", "--version", "3.2.0", one)
    assert (outcome.status, outcome.out) == (2, "")
    assert "Ignition 3.2.0 cannot say all of this" in outcome.err
    assert "it came with Ignition 3.3.0" in outcome.err
    assert "there is no Ignition '9'" in config("merge", "--version", "9", one).err
