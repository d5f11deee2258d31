"""Ignition JSON back to Butane YAML: what is written in a config readable and editable again."""

from __future__ import annotations

import json
from typing import Any

import yaml

from builder.core.errors import InputError
from firstboot.config import buildos
from firstboot.config.butane.variants import VARIANTS
from firstboot.config.document import read
from firstboot.config.fields import list_fields
from firstboot.config.model import Model
from firstboot.config.models import Config, Resource
from firstboot.config.resource import BadResource, inline_bytes
from firstboot.config.text import LocatedError, make_printable
from firstboot.config.versions import format_version
from firstboot.config.yaml_text import parse_scalar

WIDTH = 110


class Octal(int):
    """A number that is written in octal: a mode."""


def convert_to_butane(config: Config, spec: tuple[int, int], variant: str) -> str:
    """The YAML of a variant that compiles to this config.

    Contents that are text are written as text, compressed or not; whatever else is in a data URL stays there.

    Raises:
        InputError: no version of the variant compiles to this version of Ignition, or the variant has not all that
            the config uses.
    """
    editions = buildos.EDITIONS if variant == "buildos" else VARIANTS[variant]
    version = next((name for name, edition in reversed([*editions.items()]) if edition.spec == spec), None)
    if version is None:
        names = ", ".join(f"{name} for {format_version(edition.spec)}" for name, edition in editions.items())
        raise InputError(
            f"no version of {variant} compiles to Ignition {format_version(spec)}",
            hint=f"there are {names}: try --variant",
        )
    data = {"variant": variant, "version": version, **_plain(config)}
    ignition = {key: value for key, value in data.pop("ignition", {}).items() if key != "version"}
    text = _text({**data, **({"ignition": ignition} if ignition else {})})
    document = read(text, f"{variant} {version}")
    if document.errors:
        raise InputError(
            f"{variant} {version} cannot say all of this",
            details=str(LocatedError(document.located, document.errors)).splitlines(),
        )
    return text


def _plain(model: Model) -> dict[str, Any]:
    """What a part sets, in Butane's spelling."""
    result: dict[str, Any] = {}
    for field in list_fields(type(model)).values():
        value = getattr(model, field.name)
        if field.kind == "model":
            value = _plain(value)
        elif field.kind == "models":
            value = [_plain(item) for item in value]
        elif field.kind == "scalars":
            value = [*value]
        elif field.name == "mode" and value is not None:
            value = Octal(value)
        elif value == field.default and value != "":
            continue
        if value not in (None, {}, []):
            result[field.name] = value
    if isinstance(model, Resource):
        _write_inline(model, result)
    return result


def _write_inline(resource: Resource, result: dict[str, Any]) -> None:
    """Text instead of a data URL, if the contents are text; the hash is of the text either way."""
    if resource.source is None or not resource.source.startswith("data:"):
        return
    try:
        text = inline_bytes(resource).decode()
    except (BadResource, UnicodeDecodeError):
        return
    if text.replace("\t", " ") != make_printable(text.replace("\t", " ")):
        return
    del result["source"]
    result.pop("compression", None)
    result["inline"] = text


class _Dumper(yaml.SafeDumper):
    """Block text for lines, octal modes, and quotes where a plain scalar would be anything but text."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002
        return super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the same value twice is written twice
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    style = None if isinstance(parse_scalar(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Octal, lambda dumper, mode: dumper.represent_scalar("tag:yaml.org,2002:int", f"0{mode:o}"))


def _text(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


def format_json(data: dict[str, Any], *, pretty: bool) -> str:
    """Compiled data as text."""
    if pretty:
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False) + "\n"


def format_yaml(data: dict[str, Any]) -> str:
    """A MachineConfig as text."""
    return _text(data)
