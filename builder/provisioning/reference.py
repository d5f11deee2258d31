"""The reference page of first-boot configs, generated from the models."""

from __future__ import annotations

from collections.abc import Iterator

from builder.provisioning.settings import Setting, list_models, list_settings
from firstboot.config.buildos import EDITIONS
from firstboot.config.butane.variants import VARIANTS
from firstboot.config.fields import Field
from firstboot.config.model import Model
from firstboot.config.versions import NAMES, format_version

_SCALARS = {str: "text", int: "number", bool: "true or false"}
_HEAD = """\
# Reference of first-boot configs

Every setting of Ignition, of Butane and of `variant: buildos`. Generated from the models: `make reference` writes this
page, and a test says when that is needed. What a machine does with them is in [firstboot.md](firstboot.md).

YAML (`variant: ...`) spells settings as in the first column, Ignition JSON as in the second. *Since* is the version of
Ignition that a setting came with; the first table says which versions of the YAML variants that means. Settings without
a JSON name are sugar: YAML has them, and they stand for something else. `variant: openshift` also has `metadata` and
`openshift`, which are about the MachineConfig that it is compiled to.

"""


def render_reference() -> str:
    """The page."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "## Versions"
    yield ""
    variants = {"buildos": EDITIONS, **VARIANTS}
    yield f"| Ignition | {' | '.join(f'`{name}`' for name in variants)} |"
    yield f"|---|{'---|' * len(variants)}"
    for spec in NAMES.values():
        cells = [
            ", ".join(name for name, edition in editions.items() if edition.spec == spec)
            for editions in variants.values()
        ]
        yield f"| {format_version(spec)} | {' | '.join(cells)} |".replace("|  ", "| ")
    for place in list_models():
        yield ""
        yield f"## {place.model.__name__}"
        yield ""
        used = "The top of the document" if place.paths == ("",) else f"Used as {_listed(place.paths)}"
        yield f"{_purpose(place.model)} {used}."
        yield ""
        yield from _table(list_settings(place.model), place.since)


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _purpose(model: type[Model]) -> str:
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split()).replace("``", "`")


def _table(settings: list[Setting], since: tuple[int, int]) -> Iterator[str]:
    yield "| setting | JSON | type | since | meaning |"
    yield "|---|---|---|---|---|"
    for setting in settings:
        json_name = "" if setting.is_sugar else f"`{setting.field.alias}`"
        major, minor = max(since, setting.field.since)
        cells = (f"`{setting.field.name}`", json_name, _type(setting.field), f"{major}.{minor}", setting.meaning)
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _type(field: Field) -> str:
    if field.kind in ("model", "models"):
        name = field.model.__name__
        link = f"[{name}](#{name.lower()})"
        return f"list of {link}" if field.kind == "models" else link
    assert not isinstance(field.of, str)
    if field.kind == "map":
        return "names with values"
    scalar = _SCALARS[field.of]
    return f"list of {scalar}" if field.kind == "scalars" else scalar
