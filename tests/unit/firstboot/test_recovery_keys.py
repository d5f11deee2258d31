"""The recovery key of an encrypted state: who gets it, and that it is forgotten then and not before."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_plainly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.document import read
from firstboot.log import Log
from firstboot.places import Places
from firstboot.recovery_key import hand_over
from tests.support.outside import Answer, Outside
from tests.support.variant import HEAD, Read

pytestmark = pytest.mark.unit

KEY = "cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """One whose initrd has made a recovery key."""
    for name in ("run/build-os", "run/state/recovery-key", "etc", "dev"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run/build-os/recovery-key").write_text(f"{KEY}\n")
    (tmp_path / "run/state/recovery-key/pending").touch()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "dev/console").write_text("")
    return tmp_path


def handed_over(machine: Path) -> tuple[int, str]:
    """The exit status, and what the log says."""
    log = io.StringIO()
    return hand_over(Places(root=machine), Log(log, priorities=False)), log.getvalue()


def is_forgotten(machine: Path) -> bool:
    """Whether nothing on the machine has it, and the initrd makes no other."""
    kept = [path for path in machine.rglob("*") if path.is_file() and KEY in path.read_text()]
    return not (machine / "run/state/recovery-key/pending").exists() and kept in ([], [machine / "dev/console"])


def test_the_console_shows_it_once(machine: Path) -> None:
    status, said = handed_over(machine)
    assert status == 0
    assert f"\n    {KEY}\n" in (machine / "dev/console").read_text()
    assert is_forgotten(machine)
    assert KEY not in said
    (machine / "dev/console").write_text("")
    assert handed_over(machine)[0] == 0
    assert (machine / "dev/console").read_text() == ""


def test_whom_the_config_names_gets_it_and_the_console_does_not(machine: Path, outside: Outside) -> None:
    answers = [Answer(503), Answer(204)]
    asked = outside.serve("http://keys.example:80", lambda _: answers.pop(0))
    url = f"http://127.0.0.1:{outside.ports['keys.example', 80]}/machines"
    settings = {"url": url, "headers": {"Authorization": "Bearer t0ken"}}
    (machine / "etc/recovery-key.json").write_text(json.dumps(settings))

    status, said = handed_over(machine)
    assert status == 1
    assert "503" in said
    assert not is_forgotten(machine)

    assert handed_over(machine)[0] == 0
    assert is_forgotten(machine)
    assert (machine / "dev/console").read_text() == ""
    assert [(each.method, each.path, each.headers["Authorization"]) for each in asked] == [
        ("PUT", "/machines", "Bearer t0ken")
    ] * 2
    sent = json.loads(asked[1].body)
    assert sent["key"] == KEY
    assert sent["machine_id"] == "0123456789abcdef0123456789abcdef"


def test_where_nobody_answers_it_is_kept_for_another_try(machine: Path) -> None:
    (machine / "etc/recovery-key.json").write_text(json.dumps({"url": "http://127.0.0.1:9/keys"}))
    status, said = handed_over(machine)
    assert status == 1
    assert KEY not in said
    assert (machine / "run/build-os/recovery-key").read_text() == f"{KEY}\n"
    assert not is_forgotten(machine)


def config(text: str, directory: Path) -> Read:
    return Read(read(HEAD + text, "x", Surroundings(LocalFiles(directory), encode_plainly)))


def test_a_config_says_who_gets_it(tmp_path: Path) -> None:
    told = config(
        "recovery_key:\n  url: https://keys.example/m\n  http_headers: [{name: Authorization, value: Bearer x}]\n",
        tmp_path,
    )
    assert told.said == []
    assert told.files["/etc/recovery-key.json"].mode == 0o600
    assert json.loads(told.texts["/etc/recovery-key.json"]) == {
        "url": "https://keys.example/m",
        "headers": {"Authorization": "Bearer x"},
    }
    [unit] = told.document.config.systemd.units if told.document.config else ()
    assert (unit.name, unit.enabled, len(unit.dropins)) == ("state-recovery-key.service", True, 1)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://keys.example/m", "3 recovery_key.url: the key goes through the network for everyone to read"),
        ("keys.example", "3 recovery_key.url: 'keys.example' is no URL that starts with https://"),
    ],
)
def test_a_config_that_would_give_it_away_is_noticed(tmp_path: Path, url: str, words: str) -> None:
    assert config(f"recovery_key: {{url: '{url}'}}\n", tmp_path).said == [words]
