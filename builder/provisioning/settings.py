"""Everything a first-boot config may say, gathered from the models: for the reference page and the schema."""

from __future__ import annotations

import inspect
import re
from typing import Literal, NamedTuple

from firstboot.config.buildos import EDITIONS, SETTINGS, SPEC, make_dialect
from firstboot.config.butane import MACHINE, list_extra_settings, make_sugar
from firstboot.config.butane.variants import VARIANTS
from firstboot.config.fields import Field, list_fields
from firstboot.config.model import Model
from firstboot.config.models import OWN as ENGINE_ONLY
from firstboot.config.models import Config
from firstboot.config.shape import Dialect

Spelling = Literal["name", "alias"]
NEWEST_FCOS = [*VARIANTS["fcos"].values()][-1]

# Sugar that stands for something else: what it takes, the first Ignition version whose Butane has it, what it means.
SUGAR: dict[str, dict[str, tuple[Field, str]]] = {
    "Resource": {
        "inline": (Field("inline", "", "scalar", str, (3, 0)), "the bytes, as text"),
        "local": (Field("local", "", "scalar", str, (3, 1)), "the bytes, from a file beside the config"),
    },
    "User": {
        "ssh_authorized_keys_local": (
            Field("ssh_authorized_keys_local", "", "scalars", str, (3, 4)),
            "files beside the config, every line of which is a key",
        ),
    },
    "Unit": {
        "contents_local": (
            Field("contents_local", "", "scalar", str, (3, 4)),
            "the text, from a file beside the config",
        )
    },
    "Dropin": {
        "contents_local": (
            Field("contents_local", "", "scalar", str, (3, 4)),
            "the text, from a file beside the config",
        )
    },
    "Config": {
        "variant": (Field("variant", "", "scalar", str, (3, 0)), "of the language"),
        "version": (Field("version", "", "scalar", str, (3, 0)), "of the variant"),
        "hostname": (Field("hostname", "", "scalar", str, (3, 0)), "`buildos` only: the machine's name"),
        "timezone": (Field("timezone", "", "scalar", str, (3, 0)), "`buildos` only: like `Europe/Berlin`"),
        "variables": (
            Field("variables", "", "map", str, (3, 6)),
            "`buildos` only: names for values, used as `${name}`; those without a value must be given",
        ),
    },
}
OWN = {
    (model, name): f"`buildos` only: {meaning}" for model, of in SETTINGS.items() for name, (_, meaning) in of.items()
}
EXTRA: dict[str, str] = {
    "trees": "directories beside the config, whose contents go into the machine",
    "with_mount_unit": "also mount it, or use it as swap, in every boot",
    "quadlets": "containers and the like, which Podman makes units of; `buildos` and experimental versions",
    "boot_device": "encrypt or mirror the boot disk; `fcos` from 1.3 on and `openshift`",
    "grub": "protect boot entries; `fcos` from 1.5 on and `openshift` from 4.14 on",
}


class Setting(NamedTuple):
    """One setting of a model.

    Attributes:
        field: what it takes.
        is_sugar: it is Butane's, not Ignition's.
        meaning: in a sentence without a full stop.
    """

    field: Field
    is_sugar: bool
    meaning: str


def list_settings(model: type[Model]) -> list[Setting]:
    """Every setting of a model, Butane's included, by name."""
    meanings = _meanings(model)
    is_sugar = model.__module__.startswith(("firstboot.config.butane", "firstboot.config.buildos"))
    settings = [
        Setting(field, is_sugar, meanings.get(field.name, ""))
        for field in list_fields(model).values()
        if field.since != ENGINE_ONLY.version
    ]
    sugar = {name for kind in model.__mro__ for name in _our_dialect().extra.get(kind.__name__, {})}
    settings += [
        Setting(field._replace(since=SPEC), True, f"`buildos` only: {meanings.get(field.name, '')}")
        for field in list_fields(model).values()
        if field.since == ENGINE_ONLY.version and field.name not in sugar
    ]
    for kind in model.__mro__:
        settings += [Setting(field, True, meaning) for field, meaning in SUGAR.get(kind.__name__, {}).values()]
        extra = {
            **_our_dialect().extra.get(kind.__name__, {}),
            **list_extra_settings(NEWEST_FCOS).get(kind.__name__, {}),
        }
        settings += [
            Setting(field, True, OWN.get((kind.__name__, name)) or EXTRA[name]) for name, field in extra.items()
        ]
    return sorted(settings, key=lambda setting: setting.field.name)


def _meanings(model: type[Model]) -> dict[str, str]:
    """What the class and those it derives from say about their attributes."""
    meanings: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
        for match in re.finditer(r"^    (\w+): (.+(?:\n {8,}.+)*)$", text, re.MULTILINE):
            meanings[match[1]] = " ".join(match[2].split()).removesuffix(".").replace("``", "`")
    return meanings


class ModelUse(NamedTuple):
    """A model and where it is used.

    Attributes:
        model: the model.
        paths: of everything it is used for, like ``storage.files[]``; ``""`` is the top.
        since: the first version of Ignition that has any of them.
    """

    model: type[Model]
    paths: tuple[str, ...]
    since: tuple[int, int]


def list_models() -> list[ModelUse]:
    """Every model once, in the order of the config."""
    places: dict[type[Model], ModelUse] = {}
    _visit(Config, "", (3, 0), places)
    return [*places.values()]


def _visit(model: type[Model], path: str, since: tuple[int, int], places: dict[type[Model], ModelUse]) -> None:
    before = places.get(model)
    if before is not None:
        places[model] = ModelUse(model, (*before.paths, path), min(before.since, since))
        return
    places[model] = ModelUse(model, (path,), since)
    for setting in list_settings(model):
        field = setting.field
        if field.kind in ("model", "models"):
            below = f"{path}.{field.name}".lstrip(".") + ("[]" if field.kind == "models" else "")
            _visit(field.model, below, max(since, field.since), places)


def find_sugar_in_code() -> dict[str, set[str]]:
    """What Butane's and our own dialects read besides fields, to be compared with what is described here."""
    names: dict[str, set[str]] = {}
    for table in (make_sugar((3, 7), MACHINE), _our_dialect().sugar):
        for model, sugar in table.items():
            names.setdefault(model, set()).update(sugar)
    return names


def _our_dialect() -> Dialect:
    return make_dialect(EDITIONS["1.0.0"], MACHINE)
