"""The schema in the repository is the one the models make, and it accepts what they accept."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from builder.definition.findings import read_yaml
from builder.matrix.schema import make_matrix_schema, make_matrix_schema_text
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_schema_in_the_repository_is_current() -> None:
    kept = (CONFIGS / "matrix-schema.json").read_text(encoding="utf-8")
    assert kept == make_matrix_schema_text(), "write it anew with: make schema"


def test_it_accepts_what_a_matrix_may_say_and_nothing_else(make_matrix: MakeMatrix) -> None:
    made = make_matrix(
        "arch: [amd64]\noutputs: [raw, [gce, aws]]\nvariables: {eu: {place: eu}}\nfeatures: {plain: []}\n"
        "exclude:\n- {outputs: raw, variables: eu}\ninclude:\n- {definition: one.yaml, outputs: [raw]}\n"
        "tests: [tests/test_boot.py]\nlimits: {cells: 10, jobs: 2, seconds: 600}\n"
    )
    schema = make_matrix_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    data = read_yaml(made.path).data
    validator.validate(data)
    assert not validator.is_valid({**data, "archs": []})
    assert not validator.is_valid({**data, "outputs": ["floppy"]})
