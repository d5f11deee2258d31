"""The page and the schema of first-boot configs say what the models say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from builder.provisioning.reference import render_reference
from builder.provisioning.schema import make_schema, make_schema_text
from builder.provisioning.settings import SUGAR, find_sugar_in_code, list_models, list_settings
from firstboot.config.document import read

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
MACHINES = sorted((ROOT / "configs" / "machines").glob("*.yaml"))


def test_the_page_and_the_schema_in_the_repository_are_current() -> None:
    kept = (ROOT / "docs" / "config-reference.md").read_text(encoding="utf-8")
    assert kept == render_reference(), "write it anew with: make reference"
    assert (ROOT / "configs" / "machine-schema.json").read_text(encoding="utf-8") == make_schema_text()


def test_every_setting_is_explained() -> None:
    assert [
        (place.model.__name__, each.field.name)
        for place in list_models()
        for each in list_settings(place.model)
        if not each.meaning
    ] == []


def test_all_sugar_is_on_the_page() -> None:
    described = {model: set(names) for model, names in SUGAR.items()}
    assert described == find_sugar_in_code()


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(make_schema())


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_the_schema_accepts_the_shipped_configs(path: Path) -> None:
    Draft202012Validator(make_schema()).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


IGNITION = {"ignition": {"version": "3.4.0"}}
FCOS = {"variant": "fcos", "version": "1.5.0"}


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (IGNITION, True),
        (FCOS, True),
        ({**FCOS, "storage": {"trees": [{"local": "x"}]}}, True),
        ({**FCOS, "passwd": {"users": [{"name": "u", "ssh_authorized_keys": ["k"]}]}}, True),
        ({**FCOS, "passwd": {"users": [{"name": "u", "sshAuthorizedKeys": ["k"]}]}}, False),
        ({**IGNITION, "passwd": {"users": [{"name": "u", "sshAuthorizedKeys": ["k"]}]}}, True),
        ({"ignition": {"version": "2.3.0"}}, False),
        ({"variant": "fcos", "version": "1.9.0"}, False),
        ({**FCOS, "storage": {"files": [{"path": "/a", "mode": "0644"}]}}, False),
        ({}, False),
    ],
)
def test_the_schema_and_the_models_agree(data: dict[str, Any], right: bool) -> None:
    assert Draft202012Validator(make_schema()).is_valid(data) == right
    if right:
        assert not [each for each in read(json.dumps(data), "x").problems if "unknown" in each.message]
