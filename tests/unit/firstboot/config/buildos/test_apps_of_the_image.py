"""``apps`` in a machine's config: what apps of the image find on this machine, and what cannot be meant."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from firstboot.app_settings import merge, write_settings
from firstboot.config.toml_text import format_toml
from tests.support.variant import Read

pytestmark = pytest.mark.unit

Config = Callable[..., Read]


def test_variables_and_settings_become_files_that_root_reads(config: Config) -> None:
    found = config(
        "apps:\n"
        "  - name: shop\n"
        "    environment: {GREETING: 'a \"b\" $HOME \\x `id`', LEVEL: info}\n"
        "    settings: |\n      debug = true\n      [page]\n      size = 50\n"
    )
    assert found.texts["/etc/apps/shop/environment"] == 'GREETING="a \\"b\\" \\$HOME \\\\x \\`id\\`"\nLEVEL="info"\n'
    assert json.loads(found.texts["/etc/apps/shop/settings.json"]) == {"debug": True, "page": {"size": 50}}
    assert {found.files[path].mode for path in found.files} == {0o600}
    assert "/etc/apps/shop" in found.directories


def test_secrets_become_credentials_wherever_they_come_from(config: Config, tmp_path: Path) -> None:
    (tmp_path / "db").write_text("hunter2")
    found = config(
        "secrets:\n"
        "  - {name: db, file: db}\n"
        "  - {name: token, credential: web.token}\n"
        "apps: [{name: shop, secrets: {database: db, api: token}}]\n"
    )
    text = "[Service]\nLoadCredential=database:/etc/credstore/db\nLoadCredential=api:web.token\n"
    for unit in ("shop.service", "shop@.service"):
        assert found.texts[f"/etc/systemd/system/{unit}.d/50-secrets.conf"] == text


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("name: Shop", "4 apps.0.name: 'Shop' cannot be the name of an app"),
        ("settings: x = 1", "4 apps.0.name: a name is required"),
        ("name: a, environment: {A B: x}", "4 apps.0.environment.A B: 'A B' cannot be the name of a variable"),
        (
            'name: a, environment: {A: "x\\ny"}',
            "4 apps.0.environment.A: a variable cannot hold line breaks or control characters",
        ),
        ("name: a, settings: x", None),
        (
            "name: a, settings: 'at = 2026-01-01'",
            "4 apps.0.settings: dates and times are written as text, in quotes",
        ),
        ("name: a, secrets: {database: db}", "4 apps.0.secrets.database: there is no secret 'db'"),
        ("name: a, enviroment: {}", "4 apps.0.enviroment: unknown setting"),
    ],
)
def test_an_app_that_makes_no_sense_is_refused(config: Config, app: str, message: str | None) -> None:
    said = config(f"apps:\n  - {{{app}}}\n").said
    assert len(said) == 1
    assert said == [message] if message is not None else "this is not TOML" in said[0]


def test_an_app_is_named_once(config: Config) -> None:
    assert config("apps: [{name: a}, {name: a}]\n").said == ["3 apps.1.name: there is an app 'a' already"]


# --- on the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_a_machines_settings_lie_over_those_of_the_image(tmp_path: Path, kind: str) -> None:
    known = {"page": {"size": 20, "title": "Shop"}, "tags": [1, 2]}
    manifest = {"shop": {"settings": known, "settings_file": f"/usr/share/apps/shop/settings.{kind}"}}
    for name, data in (
        ("usr/lib/build-os/apps.json", manifest),
        ("etc/apps/shop/settings.json", {"page": {"size": 50}}),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(data))
    written = write_settings(tmp_path, "shop")
    assert written == tmp_path / "run/app-settings/shop" / f"settings.{kind}"
    read = tomllib.loads if kind == "toml" else json.loads
    assert read(written.read_text()) == {"page": {"size": 50, "title": "Shop"}, "tags": [1, 2]}
    assert write_settings(tmp_path, "shop") == written


def test_lists_are_replaced_and_tables_merged() -> None:
    assert merge({"a": [1], "b": {"c": 1, "d": 2}}, {"a": [2], "b": {"d": 3, "e": 4}, "f": 5}) == {
        "a": [2],
        "b": {"c": 1, "d": 3, "e": 4},
        "f": 5,
    }


def test_toml_is_written_as_it_will_be_read() -> None:
    data = {
        "title": 'a "b" \\ \n\t\x7f ü 😀',
        "empty": {},
        "big": 10**12,
        "float": 1.5,
        "infinite": float("inf"),
        "yes": True,
        "list": [1, "x", [True], {"inner key": {"deep": 1}}],
        "table": {"only": {"nested": {"x": 1}}, "y": 2},
    }
    assert tomllib.loads(format_toml(data)) == data
    assert format_toml({}) == ""
    with pytest.raises(ValueError, match="no null"):
        format_toml({"a": None})
