"""The schema in the repository is the one the models make, and it accepts what they accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from builder.definition.findings import read_yaml
from builder.definition.init import STARTER
from builder.definition.load import load
from builder.definition.schema import make_schema, make_schema_text

pytestmark = pytest.mark.unit

CONFIGS = Path(__file__).parents[3] / "configs"
DEFINITIONS = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("containers/*.yaml")])
FEATURES = sorted(CONFIGS.glob("features/*.yaml"))


def validator(below: str | None = None) -> Draft202012Validator:
    whole = make_schema()
    return Draft202012Validator(whole if below is None else {"$ref": f"#/$defs/{below}", "$defs": whole["$defs"]})


def test_the_schema_in_the_repository_is_current() -> None:
    kept = (CONFIGS / "schema.json").read_text(encoding="utf-8")
    assert kept == make_schema_text(), "write it anew with: build-os schema > configs/schema.json"


def test_it_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(make_schema())


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_it_accepts_the_shipped_definitions(path: Path) -> None:
    validator().validate(read_yaml(path).data)


@pytest.mark.parametrize("path", FEATURES, ids=lambda path: path.name)
def test_it_accepts_the_shipped_features(path: Path) -> None:
    validator("Feature").validate(read_yaml(path).data)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_definitions_load(path: Path) -> None:
    assert load(path).warnings == ()


@pytest.mark.parametrize(
    "data",
    [
        {"name": "Demo", "version": "1"},
        {"name": "demo"},
        {"name": "demo", "version": "1_0"},
        {"name": "demo", "version": "1", "verison": "1"},
        {"name": "demo", "version": "1", "disk": {"size": "8GB"}},
        {"name": "demo", "version": "1", "packages": ["a b"]},
        {"name": "demo", "version": "1", "kind": "container", "disk": {}},
        {"name": "demo", "version": "1", "outputs": ["qcow3"]},
        {"name": "demo", "version": "1", "presets": {"enable": ["sshd"]}},
        {"name": "demo", "version": "1", "firstboot": "/etc/base.yaml"},
    ],
)
def test_it_refuses_what_is_wrong(data: Any) -> None:
    assert list(validator().iter_errors(data))


def test_defaults_are_written_as_a_user_would() -> None:
    disk = make_schema()["$defs"]["Disk"]["properties"]
    assert disk["size"]["default"] == "8G"
    assert make_schema()["$defs"]["Definition"]["properties"]["disk"]["default"]["esp"] == "1G"


def test_editors_have_something_to_show_for_every_key() -> None:
    definitions = make_schema()["$defs"]
    for name, definition in definitions.items():
        for key, value in definition.get("properties", {}).items():
            referred = definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            assert value.get("description") or referred.get("description"), f"{name}.{key}"


def test_the_starter_is_no_part_of_this_repository() -> None:
    assert not [path for path in STARTER.rglob("*") if path.name == ".gitignore" or path.suffix == ".py"]
