"""The JSON Schema of first-boot configs, for editors, generated from the models.

It knows all settings of the newest versions in both spellings. What is new in which version, and what makes sense,
``build-os config check`` knows.
"""

from __future__ import annotations

import json
from typing import Any

from builder.provisioning.settings import Setting, Spelling, list_models, list_settings
from firstboot.config.buildos import EDITIONS
from firstboot.config.butane.variants import VARIANTS
from firstboot.config.fields import Field
from firstboot.config.model import Model
from firstboot.config.models import Config
from firstboot.config.versions import NAMES

_SCALARS: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
}


def make_schema() -> dict[str, Any]:
    """Draft 2020-12: YAML if there is a ``variant``, else Ignition."""
    definitions: dict[str, Any] = {}
    spellings: tuple[Spelling, ...] = ("name", "alias")
    for spelling in spellings:
        for place in list_models():
            definitions[_definition_name(place.model, spelling)] = _object(place.model, spelling)
    yaml_config, ignition = (definitions[_definition_name(Config, spelling_of)] for spelling_of in spellings)
    variants = {"buildos": EDITIONS, **VARIANTS}
    yaml_config["properties"]["variant"] = {"enum": [*variants]}
    yaml_config["properties"]["version"] = {"type": "string"}
    for name in ("metadata", "openshift"):  # of a MachineConfig, which is not for our machines
        yaml_config["properties"][name] = {"type": "object"}
    yaml_config["required"] = ["variant", "version"]
    yaml_config["allOf"] = [
        {
            "if": {"properties": {"variant": {"const": variant}}},
            "then": {"properties": {"version": {"enum": [*editions]}}},
        }
        for variant, editions in variants.items()
    ]
    ignition["required"] = ["ignition"]
    # Of our own variant: a number, or true or false, may be a variable.
    definitions["Variable"] = {"type": "string", "pattern": "^\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}$"}
    definitions[_definition_name(_model("Ignition"), "alias")] |= {"required": ["version"]}
    definitions[_definition_name(_model("Ignition"), "alias")]["properties"]["version"] = {"enum": [*NAMES]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "first-boot config",
        "type": "object",
        "if": {"required": ["variant"]},
        "then": {"$ref": "#/$defs/Config"},
        "else": {"$ref": "#/$defs/IgnitionConfig"},
        "$defs": definitions,
    }


def make_schema_text() -> str:
    """:func:`make_schema` as it stands in ``configs/machine-schema.json``."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"


def _model(name: str) -> type[Model]:
    return next(place.model for place in list_models() if place.model.__name__ == name)


def _definition_name(model: type[Model], spelling: Spelling) -> str:
    return model.__name__ if spelling == "name" else f"Ignition{model.__name__}"


def _object(model: type[Model], spelling: Spelling) -> dict[str, Any]:
    properties = {
        getattr(setting.field, spelling): _property(setting, spelling)
        for setting in list_settings(model)
        if spelling == "name" or not setting.is_sugar
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(setting: Setting, spelling: Spelling) -> dict[str, Any]:
    value = _value(setting.field, spelling)
    return {**value, "description": setting.meaning.replace("`", "")} if setting.meaning else value


def _value(field: Field, spelling: Spelling) -> dict[str, Any]:
    inner: dict[str, Any]
    if field.kind in ("model", "models"):
        inner = {"$ref": f"#/$defs/{_definition_name(field.model, spelling)}"}
    else:
        assert not isinstance(field.of, str)
        inner = _SCALARS[field.of]
        if spelling == "name" and field.of is not str:
            inner = {"anyOf": [inner, {"$ref": "#/$defs/Variable"}]}
    if field.kind == "map":
        return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
    return {"type": "array", "items": inner} if field.kind in ("models", "scalars") else dict(inner)
