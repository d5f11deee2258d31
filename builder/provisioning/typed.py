"""The schema of first-boot configs as pydantic models, for programs that write configs.

::

    from builder.provisioning.typed import Config

    motd = {"path": "/etc/motd", "contents": {"source": "data:,hello"}}
    config = Config(ignition={"version": "3.6.0"}, storage={"files": [motd]})
    config.model_dump_json(by_alias=True, exclude_unset=True)   # what a machine reads

The machine itself reads configs by :mod:`firstboot.config.model`, because importing pydantic would be half of a first
boot under emulation. These models are made from those, field by field, so that there is one schema and not two: types,
limits, and both spellings, ``http_headers`` and ``httpHeaders``. What makes sense beyond that, and what is new in which
version, ``build-os config check`` knows.

Source: Ignition's configuration specification, in its newest version.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from firstboot.config import fields, model, models


class Part(BaseModel):
    """A part of a config: strict, and nobody changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, protected_namespaces=())


_KNOWN: dict[type[model.Model], type[Part]] = {}


def make_model(part: type[model.Model]) -> type[Part]:
    """The pydantic model of a part of a config.

    Args:
        part: of :mod:`firstboot.config.models` or :mod:`firstboot.config.devices`.
    """
    if part not in _KNOWN:
        known = (field for field in fields.list_fields(part).values() if field.since != models.OWN.version)
        definitions: dict[str, Any] = {field.name: _definition(field) for field in known}
        _KNOWN[part] = create_model(part.__name__, __base__=Part, __doc__=part.__doc__, **definitions)
    return _KNOWN[part]


def _definition(field: fields.Field) -> tuple[Any, Any]:
    """A field as ``create_model`` takes it: its type, and its alias with what it is if it is not given."""
    of: Any = make_model(field.model) if field.kind in ("model", "models") else field.of
    if field.between is not None:
        of = Annotated[of, Field(ge=field.between.least, le=field.between.greatest)]
    match field.kind:
        case "model":
            return of, Field(alias=field.alias, default_factory=of)
        case "map":
            return dict[str, of], Field(alias=field.alias, default_factory=dict)
        case "models" | "scalars":
            # A document's list may come as one; it is kept as what nobody changes.
            return Annotated[tuple[of, ...], Field(strict=False)], Field((), alias=field.alias)
        case "scalar":
            return (of | None if field.unset else of), Field(field.default, alias=field.alias)


Config = make_model(models.Config)
"""All that a config of the newest version may say."""
