"""A definition with some of its settings changed: what a cell of a matrix builds, without a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from builder.core.architecture import Arch
from builder.definition.scalars import Scalar


@dataclass(frozen=True)
class Variation:
    """What is changed of a system's definition; by default nothing.

    Attributes:
        arch, outputs: take the place of what the definition says.
        variables: name and value; added to the definition's, and win over them.
        features: added after the definition's.
    """

    arch: Arch | None = None
    outputs: tuple[str, ...] = ()
    variables: tuple[tuple[str, Scalar], ...] = ()
    features: tuple[str, ...] = ()

    @property
    def locked_as(self) -> str:
        """What of it decides which packages there are, as a part of a lock's name; empty if nothing does."""
        return "-".join([*([self.arch] if self.arch else []), *self.features])

    def __str__(self) -> str:
        """All that is changed, in a few words; empty if nothing is."""
        words = [self.arch or "", "+".join(self.outputs), *(f"{name}={value}" for name, value in self.variables)]
        return " ".join(word for word in (*words, *self.features) if word)

    def describe(self) -> dict[str, Any]:
        """As JSON has it, for :func:`parse_variation`."""
        return asdict(self)

    def apply_to(self, data: dict[str, Any]) -> dict[str, Any]:
        """What the definition says, changed; ``data`` stays as it is. What it says wrongly is left to be found."""
        changed = dict(data)
        if self.arch is not None:
            changed["arch"] = self.arch.value
        if self.outputs:
            changed["outputs"] = list(self.outputs)
        if self.variables and isinstance(data.get("variables", {}), dict):
            changed["variables"] = {**data.get("variables", {}), **dict(self.variables)}
        own = data.get("features", ["base"])
        if self.features and isinstance(own, list):
            changed["features"] = [*own, *(name for name in self.features if name not in own)]
        return changed


def parse_variation(data: Mapping[str, Any]) -> Variation:
    """What :meth:`Variation.describe` gave."""
    return Variation(
        arch=None if data["arch"] is None else Arch(data["arch"]),
        outputs=tuple(data["outputs"]),
        variables=tuple((name, value) for name, value in data["variables"]),
        features=tuple(data["features"]),
    )
