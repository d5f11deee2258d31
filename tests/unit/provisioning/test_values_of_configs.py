"""Values for variables and secrets of configs: where they come from, which wins, and where secrets are not shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.cli.configs import read_config
from builder.provisioning.values import read_values
from firstboot.config.urls import decode_data_url
from tests.support.command import Outcome, run_command

pytestmark = pytest.mark.unit

BUILDOS = "variant: buildos\nversion: 1.0.0\n"
NAMED = BUILDOS + "variables: {name: default}\nhostname: ${name}\n"
USE = "storage: {files: [{path: /x, contents: {inline: '${secrets.db}'}}]}\n"
SECRET = BUILDOS + "secrets: [{name: db, file: db}]\n" + USE
ROOT = Path(__file__).parents[3]
CANARY = "canary-81d2"


Config = Callable[..., Outcome]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Config:
    """``config("compile", "m.yaml")`` in a directory with a config of variables, one of secrets, and a secret."""
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(NAMED)
    Path("secret.yaml").write_text(SECRET)
    Path("db").write_text(CANARY)

    return partial(run_command, capsys, "config")


def hostname(text: str) -> str:
    files = json.loads(text)["storage"]["files"]
    source = next(each["contents"]["source"] for each in files if each["path"] == "/etc/hostname")
    return decode_data_url(source).decode()


def test_the_more_explicit_a_value_is_the_more_it_counts(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_name", "prefixed")
    monkeypatch.setenv("APP_OTHER", "nobody asks")
    monkeypatch.setenv("name", "exact")
    Path("values.yaml").write_text("name: filed\nunused: 1\n")
    asked = ("compile", "m.yaml")
    assert hostname(config(*asked).out) == "default\n"
    asked += ("--env-prefix", "APP_")
    assert hostname(config(*asked).out) == "prefixed\n"
    asked += ("--env", "name")
    assert hostname(config(*asked).out) == "exact\n"
    asked += ("--variables", "values.yaml")
    assert hostname(config(*asked).out) == "filed\n"
    asked += ("--set", "name=set")
    assert hostname(config(*asked).out) == "set\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "nam=x"), "no config has a variable 'nam'"),
        (("--set", "name"), "'name' is not NAME=VALUE"),
        (("--env", "NOT_THERE"), "there is no environment variable 'NOT_THERE'"),
        (("--env-prefix", ""), "the prefix of environment variables is empty"),
        (("--variables", "missing.yaml"), "cannot read missing.yaml: No such file or directory"),
        (("--variables", "bad.yaml"), "bad.yaml:1:4: expected text, a number, true or false, found a list"),
        (("--secret", "db=missing"), "cannot read missing: No such file or directory"),
    ],
)
def test_values_that_cannot_be_used_are_refused(config: Config, arguments: tuple[str, ...], message: str) -> None:
    Path("bad.yaml").write_text("a: [1]\n")
    for action in ("compile", "check", "merge", "convert"):
        outcome = config(action, *arguments, "m.yaml")
        assert (outcome.status, outcome.out.count("{")) == (2, 0)
        assert message in outcome.err


def test_a_secret_is_printed_only_for_who_asks(config: Config) -> None:
    shapes = (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("="))
    for action in ("compile", "merge", "convert"):
        silent = config(action, "-d", ".", "secret.yaml")
        assert (silent.status, silent.out) == (2, "")
        assert "the result has secrets in it: db" in silent.err
        assert not any(shape in silent.err for shape in shapes)
        assert any(shape in config(action, "-d", ".", "--show-secrets", "secret.yaml").out for shape in shapes)
    written = config("compile", "-d", ".", "--output", "out/x.ign", "secret.yaml")
    assert (written.status, written.out) == (0, "")
    assert Path("out/x.ign").stat().st_mode & 0o777 == 0o600
    assert any(shape in Path("out/x.ign").read_text() for shape in shapes)
    checked = config("check", "--json", "-d", ".", "secret.yaml")
    assert checked.status == 0
    assert not any(shape in checked.out + checked.err for shape in shapes)


def test_a_secret_may_come_from_anywhere_the_user_says(config: Config) -> None:
    Path("elsewhere").write_text("other")
    outcome = config("compile", "--secret", "db=elsewhere", "--show-secrets", "secret.yaml")
    assert "data:,other" in outcome.out


def test_a_machine_gets_a_config_with_its_values_in_it(config: Config) -> None:
    assert read_config(Path("m.yaml")).text == NAMED
    given = read_values([], ["name=given"], [], [], [])
    assert hostname(read_config(Path("m.yaml"), given).text) == "given\n"
    assert read_config(Path("secret.yaml")).text != SECRET


def test_our_own_variant_becomes_ignition_and_comes_back(config: Config) -> None:
    Path("web.yaml").write_text((ROOT / "configs" / "machines" / "web.yaml").read_text())
    compiled = config("compile", "--set", "port=80", "web.yaml").out
    Path("web.ign").write_text(compiled)
    back = config("convert", "--variant", "buildos", "web.ign").out
    assert "ExecStart=/usr/bin/python3 /usr/local/lib/web/server.py web-1 80\n" in back
    Path("back.yaml").write_text(back)
    assert json.loads(config("convert", "back.yaml").out) == json.loads(compiled)
