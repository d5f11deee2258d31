"""The fields of models as those who go over them need them: reading, merging, writing, looking for duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from firstboot.config.model import Between, Device, Model, Since, Spelled
from firstboot.config.named_tuple import NamedTuple

Kind = Literal["model", "models", "scalar", "scalars", "map"]
DEVICES = "firstboot.config.devices"


class Field(NamedTuple):
    """A field of a model.

    Attributes:
        name: the attribute, which is also Butane's spelling.
        alias: Ignition's spelling.
        kind: one model, a list of models, one scalar, a list of scalars, or names with scalars (only of sugar).
        of: a model; where one is that is imported only when it is needed, as ``module:name``; ``str``, ``int``
            or ``bool``.
        since: the spec version it came with.
        default: its value if it is not given.
        unset: whether ``None`` is a value of it.
        between: the smallest and the greatest whole number.
    """

    name: str
    alias: str
    kind: Kind
    of: type | str
    since: tuple[int, int] = (3, 0)
    default: Any = None
    unset: bool = False
    between: Between | None = None

    @property
    def model(self) -> type[Model]:
        """The model of ``model`` and ``models``."""
        if isinstance(self.of, str):
            module, _, name = self.of.partition(":")
            model: type[Model] = getattr(import_module(module), name)
            return model
        assert issubclass(self.of, Model)
        return self.of


_KNOWN: dict[type[Model], dict[str, Field]] = {}


def list_fields(model: type[Model]) -> dict[str, Field]:
    """The fields of a model by attribute name."""
    if model not in _KNOWN:
        _KNOWN[model] = {name: _field(name, annotation, model) for name, annotation in model.ANNOTATIONS.items()}
    return _KNOWN[model]


def _field(name: str, annotation: Any, model: type[Model]) -> Field:
    kind, marks, unset = _bare(annotation)
    is_list = get_origin(kind) is tuple
    of: type | str = str
    if is_list:
        of, more, _ = _bare(get_args(kind)[0])
        marks += more
    elif get_origin(kind) is not Mapping:
        of = kind
    alias = name if model.OWN_SPELLING else format_camel_case(name)
    since, between = (3, 0), None
    for mark in marks:
        match mark:
            case Since():
                since = mark.version
            case Spelled():
                alias = mark.alias
            case Between():
                between = mark
            case Device():
                of = mark.model if ":" in mark.model else f"{DEVICES}:{mark.model}"
            case _:
                raise TypeError(f"{model.__name__}.{name}: {mark!r} means nothing")
    shape: Kind
    if isinstance(of, str) or issubclass(of, Model):
        shape = "models" if is_list else "model"
    elif is_list:
        shape = "scalars"
    else:
        shape = "scalar" if kind is of else "map"
    return Field(name, alias, shape, of, since, getattr(model, name), unset, between)


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """A type without ``Annotated`` and ``| None`` around it, what it was annotated with, whether it may be ``None``."""
    marks: tuple[Any, ...] = ()
    unset = False
    while True:
        if hasattr(annotation, "__metadata__"):
            marks += annotation.__metadata__
            annotation = annotation.__origin__
        elif get_origin(annotation) in (Union, UnionType):
            unset = True
            annotation = next(argument for argument in get_args(annotation) if argument is not NoneType)
        else:
            return annotation, marks, unset


def format_camel_case(name: str) -> str:
    """``sshAuthorizedKeys`` for ``ssh_authorized_keys``."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
