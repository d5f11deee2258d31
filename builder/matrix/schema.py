"""The JSON Schema of ``matrix.yaml``, for editors; kept in ``configs/matrix-schema.json``, where a test compares it."""

from __future__ import annotations

import json
from typing import Any

from builder.definition.schema import SchemaGenerator
from builder.matrix.model import Matrix


def make_matrix_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    made = Matrix.model_json_schema(schema_generator=SchemaGenerator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "build-os matrix"}


def make_matrix_schema_text() -> str:
    """:func:`make_matrix_schema` as it stands in the repository."""
    return json.dumps(make_matrix_schema(), indent=2, ensure_ascii=False) + "\n"
