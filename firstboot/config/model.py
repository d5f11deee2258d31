"""The base of all parts of a config: typed, frozen, described by its annotations.

pydantic does this for what only the host reads. In the guest, under emulation, importing it and building its
validators took half of a first boot's processor time (docs/performance.md), for parts made of text, numbers,
truth values and each other. What may be in them is :func:`firstboot.config.fields.list_fields`, whether it is,
:mod:`firstboot.config.building`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, Self, dataclass_transform

from firstboot.config.named_tuple import NamedTuple

NO_NAMES: Mapping[str, str] = MappingProxyType({})
"""What a field of names and texts has that is not given."""


class Between(NamedTuple):
    """The smallest and the greatest of a whole number."""

    least: int
    greatest: int


class Since(NamedTuple):
    """The first spec version, as (major, minor), that knows a field."""

    version: tuple[int, int]


class Device(NamedTuple):
    """The elements of a list are this model of :mod:`.devices`, or ``MODULE:MODEL``; imported when there are any."""

    model: str


class Spelled(NamedTuple):
    """Ignition's name of a field, where it is not the attribute's in camel case."""

    alias: str


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Model:
    """A part of a config. Frozen; unknown keys were dealt with before (:mod:`.shape`).

    An instance holds what was given; what was not is the class's own. Values are not looked at: those of
    documents were before, others are ours, and mypy sees them.
    """

    UNKEYED: ClassVar[frozenset[str]] = frozenset()
    """Lists whose elements are never compared: a child's are added after the parent's."""
    SECTIONS: ClassVar[bool] = False
    """Holds only other parts, each of which is checked on its own, if it is there at all."""
    SHARED: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Lists that share one key space: a key in one of them replaces the same key in another."""
    OWN_SPELLING: ClassVar[bool] = False
    """Fields have no other names than their attributes."""
    ANNOTATIONS: ClassVar[dict[str, Any]] = {}
    """The annotations of all fields, those of base classes first."""

    def __init_subclass__(cls) -> None:
        own = {name: annotation for name, annotation in cls.__annotations__.items() if name.islower()}
        cls.ANNOTATIONS = {**cls.ANNOTATIONS, **own}

    def __init__(self, **values: Any) -> None:
        if not values.keys() <= self.ANNOTATIONS.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(values.keys() - self.ANNOTATIONS.keys())}")
        self.__dict__.update(values)

    def model_copy(self, update: Mapping[str, Any]) -> Self:
        """The same with other values for some fields."""
        return type(self)(**{**self.__dict__, **update})

    def collect_values(self) -> dict[str, Any]:
        """The values of all fields by attribute name."""
        return {name: getattr(self, name) for name in self.ANNOTATIONS}

    @property
    def key(self) -> str:
        """What makes two elements of a list the same thing."""
        raise NotImplementedError(type(self).__name__)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__ or self.collect_values() == other.collect_values()

    def __hash__(self) -> int:
        return hash((*self.collect_values().values(),))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"
