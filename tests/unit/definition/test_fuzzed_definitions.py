"""Whatever is written, the answer is a value or a InputError: never a traceback."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from builder.core.architecture import Arch
from builder.core.errors import InputError
from builder.definition.extensions import load_extension
from builder.definition.init import STARTER
from builder.definition.load import load, load_container, read_kind
from builder.definition.model import ContainerDefinition, Definition, Disk, ExtensionDefinition, Kernel, Presets, Root
from builder.definition.template import Values, render_text
from builder.definition.unitfile import find_unit_problems
from firstboot.config.located import LocatedError
from tests.support.fuzz import examples

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
VALUES = Values("demo", "1.0.0", "amd64", "trixie", ("base",), {"a": 1})

WORDS = st.sampled_from(
    [
        "demo",
        "1.0.0",
        "base",
        "8G",
        "100M",
        "root=x",
        "a.service",
        "80:80",
        "web.yaml",
        "http://[",
        "zstd",
        "",
        "../x",
    ]
)
SCALARS = st.one_of(WORDS, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none())
VALUES_OF_ANY_KIND = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=5)), inner, max_size=3)
    ),
    max_leaves=8,
)


def like(*models: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with these models' keys and any values, often valid ones."""
    keys = st.sampled_from(sorted({name for model in models for name in model.model_fields}))
    return st.dictionaries(keys, st.one_of(VALUES_OF_ANY_KIND, st.lists(WORDS, max_size=3)), max_size=6)


@examples(200)
@given(
    base=st.sampled_from(
        [
            {},
            {"name": "demo", "version": "1"},
            {"kind": "container", "name": "web", "version": "1"},
            {"kind": "extension", "name": "tools", "of": "of.yaml"},
        ]
    ),
    extra=like(Definition, ContainerDefinition, ExtensionDefinition),
    inner=st.dictionaries(
        st.sampled_from(["disk", "kernel", "presets", "root"]), like(Disk, Kernel, Presets, Root), max_size=2
    ),
)
def test_any_mapping_is_a_value_or_a_config_error(base: Any, extra: Any, inner: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "os.yaml"
        path.with_name("of.yaml").write_text("name: of\nversion: '1'\nfeatures: [base, extensions]\n", encoding="utf-8")
        path.write_text(json.dumps({**extra, **inner, **base}), encoding="utf-8")
        with contextlib.suppress(InputError):
            loaders = {"system": load, "container": load_container, "extension": load_extension}
            loaders[read_kind(path)](path, arch=Arch.AMD64, shipped=ROOT)


@examples(200)
@given(st.data())
def test_a_definition_with_a_hole_or_an_insertion_is_a_value_or_a_config_error(data: st.DataObject) -> None:
    text = (STARTER / "os.yaml").read_text(encoding="utf-8").replace("@NAME@", "demo")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    middle = data.draw(st.one_of(st.text(max_size=10), st.text("{}[]:&*!|>-#'\"\n ", max_size=10)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "os.yaml"
        path.write_text(text[:start] + middle + text[end:], encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(InputError):
            load(path, arch=Arch.AMD64, shipped=ROOT)


@examples(200)
@given(st.one_of(st.text(max_size=60), st.text("{}%#nameif.|()[]' \n+-*'12", max_size=60)))
def test_any_template_is_text_or_a_located_error(text: str) -> None:
    with contextlib.suppress(LocatedError):
        render_text(text, "x.j2", VALUES)


@examples(100)
@given(st.one_of(st.binary(max_size=60), st.text("[]Service=\\\n#; ", max_size=60).map(str.encode)))
def test_any_unit_file_is_fine_or_complained_about(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name in ("a.service", "b.preset", "c.timer.j2"):
            (Path(directory) / name).write_bytes(data)
        for error in find_unit_problems(Path(directory), VALUES):
            assert str(error)
