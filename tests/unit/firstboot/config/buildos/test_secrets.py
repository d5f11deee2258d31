"""``secrets``: where their values go, and where they never do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from firstboot.config.text import render
from tests.support.logins import HASH
from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]
CANARY = "canary-7f3a91"


def test_a_secret_is_a_file_for_root_alone_wherever_it_comes_from(config: Config, tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"\x00\xff")
    b = "{name: b, file: db, path: /etc/app/b, mode: 0640, group: {name: app}}"
    text = f"secrets: [{{name: a, env: A}}, {b}, {{name: c}}]\n"
    found = config(text, environment={"A": CANARY}, secrets={"c": b"C"})
    assert found.texts["/etc/credstore/a"] == CANARY
    assert found.texts["/etc/credstore/c"] == "C"
    modes = {path: file.mode for path, file in found.files.items()}
    assert modes == {"/etc/credstore/a": 0o600, "/etc/app/b": 0o640, "/etc/credstore/c": 0o600}
    assert found.files["/etc/app/b"].group.name == "app"
    assert found.directories["/etc/credstore"].mode == 0o700
    assert found.document.secrets == {"a", "b", "c"}


def test_a_credential_of_the_platform_is_never_in_the_config(config: Config) -> None:
    found = config("secrets: [{name: a, credential: x.y, path: /etc/app/a, mode: 0640}, {name: b, credential: b}]\n")
    assert [*found.units] == ["secret-a.service"]
    assert "LoadCredential=a:x.y" in found.settings("secret-a.service")
    assert "ExecStart=/usr/bin/install -D --mode=0640 --owner=0 --group=0 -- %d/a /etc/app/a" in found.settings(
        "secret-a.service"
    )
    assert found.document.secrets == frozenset()


def test_a_secret_in_a_file_makes_it_one_that_others_cannot_read(config: Config) -> None:
    text = (
        "secrets: [{name: a, env: A}]\n"
        "storage: {files: [{path: /x, contents: {inline: 'pw=${secrets.a}'}}]}\n"
        "passwd: {users: [{name: u, password_hash: '${secrets.a}'}]}\n"
    )
    found = config(text, environment={"A": HASH + "\n"})
    assert (found.texts["/x"], found.files["/x"].mode) == (f"pw={HASH}", 0o600)
    assert found.document.config is not None
    assert found.document.config.passwd.users[0].password_hash == HASH


def test_all_secrets_in_a_value_are_known(config: Config) -> None:
    text = "secrets: [{name: a, env: A}, {name: b, env: A}]\n"
    text += "storage: {files: [{path: /x, contents: {inline: '${secrets.a}${secrets.b}'}}]}\n"
    assert config(text, environment={"A": CANARY}).document.secrets == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hostname: ${secrets.a}\n", "4 hostname: a secret cannot be used here: others could read it"),
        (
            "systemd: {units: [{name: a.service, contents: '${secrets.a}'}]}\n",
            "4 systemd.units.0.contents: a secret cannot be used here: others could read it",
        ),
        (
            "storage: {files: [{path: /x, mode: 0644, contents: {inline: '${secrets.a}'}}]}\n",
            "4 storage.files.0.mode: everybody could read the secret in this file",
        ),
        (
            "storage: {files: [{path: /x, contents: {inline: '${secrets.b}'}}]}\n",
            "4 storage.files.0.contents.inline: there is no secret 'b'",
        ),
    ],
)
def test_a_secret_is_nowhere_that_others_could_read(config: Config, text: str, message: str) -> None:
    found = config("secrets: [{name: a, env: A}]\n" + text, environment={"A": CANARY})
    assert found.said == [message]
    assert CANARY not in render(found.document.located, found.document.problems)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("{name: a/b}", "name: 'a/b' cannot be the name of a secret"),
        ("{name: a, env: A, file: f}", "env: give only one of file, env"),
        ("{name: a, env: B}", "env: there is no environment variable 'B'"),
        ("{name: a, file: f}", "file: 'f' cannot be read: No such file or directory"),
        ("{name: a, file: ../f}", "file: '../f' leads out of the files directory"),
        ("{name: a}", "name: nothing says what the secret 'a' is"),
        ("{name: a, env: A, mode: 0644}", "mode: everybody could read this secret"),
        ("{name: a, env: A, path: x}", "path: the path 'x' is not absolute"),
        ("{name: a, credential: /x}", "credential: '/x' cannot be the name of a credential"),
        ("{name: a, env: 3}", "env: expected text, found a number"),
        ("{nam: a}", "nam: unknown setting"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_at_its_place(config: Config, secret: str, message: str) -> None:
    assert config(f"secrets: [{secret}]\n", environment={"A": CANARY}).said[0] == f"3 secrets.0.{message}"


def test_two_secrets_of_one_name_are_refused(config: Config) -> None:
    found = config("secrets: [{name: a, env: A}, {name: a, env: A}]\n", environment={"A": "x"})
    assert found.said == ["3 secrets.1.name: there is a secret 'a' already"]


def test_on_a_machine_there_is_neither_a_file_nor_an_environment(config: Config) -> None:
    found = config("secrets: [{name: a, env: A}]\n")
    assert "compile the config first" in (found.document.problems[0].hint or "")
