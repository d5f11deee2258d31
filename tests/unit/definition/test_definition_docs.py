"""The reference is complete and its examples work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from builder.core.architecture import Arch
from builder.definition import model
from builder.definition.load import load

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "definition.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = dict(re.findall(r"^```\w+\n# file: (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
DEFINITIONS = [block for language, block in BLOCKS if language == "yaml" and block.startswith("name:")]
MODELS = [
    value
    for value in vars(model).values()
    if isinstance(value, type) and issubclass(value, model.Model) and value is not model.Model
]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda text: text.splitlines()[0])
def test_every_example_loads(definition: str, project: Project) -> None:
    for name, text in FILES.items():
        project.write(name, text)
    project.write("overlays/pages/srv/www/index.html", "<p>A page</p>\n")
    path = project.write("os.yaml", definition)
    loaded = load(path, arch=Arch.AMD64, shipped=ROOT)
    assert loaded.warnings == ()


def test_there_are_examples() -> None:
    assert DEFINITIONS != []
    assert FILES != {}


@pytest.mark.parametrize("described", MODELS, ids=lambda each: each.__name__)
def test_every_key_is_described_and_documented(described: type[BaseModel]) -> None:
    for name, field in described.model_fields.items():
        assert field.description, f"{described.__name__}.{name} has no description"
        assert re.search(rf"`(?:\w+\.)?{name}`", TEXT), f"docs/definition.md does not mention {name}"
