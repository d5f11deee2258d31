"""The JSON Schema of definitions, for editors: ``# yaml-language-server: $schema=...``.

Generated from the models and kept in ``configs/schema.json``, where a test compares it.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from builder.definition.model import ContainerDefinition, Definition, ExtensionDefinition, Feature
from builder.definition.scalars import Size


class SchemaGenerator(GenerateJsonSchema):
    """Writes defaults as the user would: a size as ``8G``, not as its bytes."""

    def field_title_should_be_set(self, make_schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Titles would only repeat the keys."""
        return False

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Size) else super().encode_default(dft)


def make_schema() -> dict[str, Any]:
    """Draft 2020-12. A file is a system unless its ``kind`` says otherwise. Features: ``$defs/Feature``."""
    models: list[type[BaseModel]] = [Definition, ContainerDefinition, ExtensionDefinition, Feature]
    _, generated = models_json_schema(
        [(model, "validation") for model in models],
        schema_generator=SchemaGenerator,
        ref_template="#/$defs/{model}",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "build-os definition",
        "type": "object",
        "if": {"properties": {"kind": {"const": "container"}}, "required": ["kind"]},
        "then": {"$ref": "#/$defs/ContainerDefinition"},
        "else": {
            "if": {"properties": {"kind": {"const": "extension"}}, "required": ["kind"]},
            "then": {"$ref": "#/$defs/ExtensionDefinition"},
            "else": {"$ref": "#/$defs/Definition"},
        },
        "$defs": generated["$defs"],
    }


def make_schema_text() -> str:
    """:func:`make_schema` as it stands in ``configs/schema.json``."""
    return json.dumps(make_schema(), indent=2, ensure_ascii=False) + "\n"
