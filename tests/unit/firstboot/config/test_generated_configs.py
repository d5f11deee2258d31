"""Configs of every shape the models allow, in every variant: judged, compiled, merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.config import buildos
from firstboot.config.butane import MACHINE, Surroundings, list_extra_settings
from firstboot.config.butane.encoding import encode_compactly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.butane.variants import VARIANTS
from firstboot.config.document import read
from firstboot.config.dump import dump
from firstboot.config.fields import Field, list_fields
from firstboot.config.loaded import Document
from firstboot.config.merge import merge
from firstboot.config.model import Model
from firstboot.config.models import Config
from firstboot.config.origins import Origins
from firstboot.config.shape import get_for_class
from firstboot.config.text import Located
from firstboot.config.versions import translate

pytestmark = pytest.mark.unit

TEXTS = [
    "",
    "a",
    "/a",
    "/var/b",
    "/dev/vda",
    "root",
    "ext4",
    "swap",
    "raid1",
    "data:,x",
    "http://h/x",
    "tree",
    "f",
    "{}",
    "yes",
    "192.0.2.1/24",
    "a.service",
    "${secrets.a}",
]
NUMBERS = [0, 1, 4, 0o644, 644, 5000, -1, 2**63]
EDITIONS = [(variant, version) for variant, versions in VARIANTS.items() for version in versions]
EDITIONS += [("buildos", "1.0.0")] * 5
OURS = buildos.make_dialect(buildos.EDITIONS["1.0.0"], MACHINE)
SETTINGS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def values(field: Field, variant: str) -> st.SearchStrategy[Any]:
    """Something for a field, seldom of the wrong kind."""
    scalars: dict[Any, st.SearchStrategy[Any]] = {
        str: st.sampled_from(TEXTS),
        int: st.sampled_from(NUMBERS),
        bool: st.booleans(),
    }
    match field.kind:
        case "model":
            right = structures(field.model, variant)
        case "models":
            right = st.lists(structures(field.model, variant), max_size=2)
        case "scalar":
            right = scalars[field.of]
        case "scalars":
            right = st.lists(scalars[field.of], max_size=2)
        case "map":
            right = st.dictionaries(st.sampled_from(TEXTS), st.one_of(*scalars.values()), max_size=2)
    return st.one_of(right, right, right, right, st.sampled_from([None, "x", 3, [], {}, True]))


def structures(model: type[Model], variant: str = "fcos") -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of a model's settings, and some of Butane's."""
    fields = dict(list_fields(model))
    fields |= _extra(model, variant)
    sugar = {"Resource": ("inline", "local"), "Unit": ("contents_local",), "Dropin": ("contents_local",)}
    optional: dict[Any, st.SearchStrategy[Any]] = {name: values(field, variant) for name, field in fields.items()}
    optional |= {name: st.sampled_from(TEXTS) for name in sugar.get(model.__name__, ())}
    names = st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=4)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: optional[name] for name in chosen}))


def _extra(model: type[Model], variant: str) -> dict[str, Field]:
    if variant == "buildos":
        return dict(get_for_class(OURS.extra, model))
    edition = VARIANTS["openshift" if variant == "openshift" else "fcos"][_newest(variant)]
    return list_extra_settings(edition).get(model.__name__, {})


def _newest(variant: str) -> str:
    return [*VARIANTS["openshift" if variant == "openshift" else "fcos"]][-1]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    variant, version = draw(st.sampled_from(EDITIONS))
    return {"variant": variant, "version": version, **draw(structures(Config, variant))}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LocalFiles:
    """A directory beside the config: ``tree/`` and ``f``."""
    directory: Path = tmp_path_factory.mktemp("files")
    (directory / "tree" / "etc").mkdir(parents=True)
    (directory / "tree" / "etc" / "x").write_text("x\n")
    (directory / "f").write_text("f\n")
    return LocalFiles(directory)


def compiled(data: dict[str, Any], files: LocalFiles) -> Document:
    return read(yaml.safe_dump(data), "x", Surroundings(files, encode_compactly))


@given(data=documents())
@SETTINGS
def test_any_document_is_judged_and_every_problem_has_a_line(data: dict[str, Any], files: LocalFiles) -> None:
    document = compiled(data, files)
    for problem in document.problems:
        assert document.located.mark_of(problem.path, on_key=problem.on_key)
        assert problem.message


@given(data=documents())
@SETTINGS
def test_what_compiles_is_right_by_the_rules_of_ignition(data: dict[str, Any], files: LocalFiles) -> None:
    document = compiled(data, files)
    if document.config is not None:
        again = read(json.dumps(dump(document.config)), "x")
        assert again.errors == ()
        assert again.config == document.config


NOWHERE = Origins({(): (Located("x", "", None, {}, {}), ())})


@given(data=st.lists(documents(), min_size=3, max_size=3))
@SETTINGS
def test_merging_has_a_neutral_element_and_never_invents_anything(
    data: list[dict[str, Any]], files: LocalFiles
) -> None:
    configs = [translate(each.config, each.version) for one in data if (each := compiled(one, files)).config]
    for config in configs:
        nothing = Config()
        for pair in ((config, nothing), (nothing, config)):
            assert dump(merge(*pair, NOWHERE, NOWHERE)[0]) == dump(config)
    if len(configs) == 3:
        a, b, c = configs
        left = merge(merge(a, b, NOWHERE, NOWHERE)[0], c, NOWHERE, NOWHERE)[0]
        right = merge(a, merge(b, c, NOWHERE, NOWHERE)[0], NOWHERE, NOWHERE)[0]
        for name in ("disks", "raid", "luks", "filesystems"):
            keys = [sorted(each.key for each in getattr(result.storage, name)) for result in (left, right)]
            assert keys[0] == keys[1]
