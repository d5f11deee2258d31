"""The fields of models as the walks over them need them: reading, merging, writing, looking for duplicates."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, get_args, get_origin

from firstboot.config.models import Device, Model, Since

Kind = Literal["model", "models", "scalar", "scalars", "map"]
DEVICES = "firstboot.config.devices"


class Field(NamedTuple):
    """A field of a model as the walk needs it.

    Attributes:
        name: the attribute, which is also Butane's spelling.
        alias: Ignition's spelling.
        kind: one model, a list of models, one scalar, a list of scalars, or names with scalars (only of sugar).
        of: a model; where one is that is imported only when it is needed, as ``module:name``; ``str``, ``int``
            or ``bool``.
        since: the spec version it came with.
    """

    name: str
    alias: str
    kind: Kind
    of: type | str
    since: tuple[int, int]

    @property
    def model(self) -> type[Model]:
        """The model of ``model`` and ``models``."""
        if isinstance(self.of, str):
            module, _, name = self.of.partition(":")
            found: type[Model] = getattr(import_module(module), name)
            return found
        assert issubclass(self.of, Model)
        return self.of


@cache
def fields_of(model: type[Model]) -> dict[str, Field]:
    """The fields of a model by attribute name."""
    return {name: _field(name, info) for name, info in model.model_fields.items()}


def _field(name: str, info: Any) -> Field:
    since = next((each.version for each in info.metadata if isinstance(each, Since)), (3, 0))
    device = next((each.model for each in info.metadata if isinstance(each, Device)), None)
    alias = info.alias or name
    if device is not None:
        return Field(name, alias, "models", device if ":" in device else f"{DEVICES}:{device}", since)
    inner = info.annotation
    is_list = get_origin(inner) is tuple
    if is_list:
        inner = get_args(inner)[0]
    model = next(
        (each for each in (inner, *_leaves(inner)) if isinstance(each, type) and issubclass(each, Model)), None
    )
    if model is not None:
        return Field(name, alias, "models" if is_list else "model", model, since)
    if get_origin(inner) is dict:
        return Field(name, alias, "map", str, since)
    scalar = next(each for each in (str, bool, int) if each in (inner, *_leaves(inner)))
    return Field(name, alias, "scalars" if is_list else "scalar", scalar, since)


def _leaves(annotation: Any) -> list[Any]:
    """``X | None`` and ``Annotated[X, ...]`` taken apart."""
    arguments = get_args(annotation)
    return [leaf for each in arguments for leaf in (each, *_leaves(each))]
