"""Ways that a script may take where a condition is not known: what each leads to, and whether it makes a difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.debian.scripts.effects import Effect, EffectKind
from builder.debian.scripts.language.control_flow import Exit, Leave, Status
from builder.debian.scripts.state import State
from builder.debian.scripts.target_system import SWEPT
from builder.tree.node import Node


@dataclass(frozen=True)
class Outcome:
    """Where a way through a script ends: what it did, what it leaves in the tree, what the shell knows then."""

    effects: list[Effect]
    changes: Mapping[str, Node | None]
    state: State
    status: Status
    ended: Exit | Leave | None

    def is_like(self, other: Outcome) -> bool:
        """Whether it makes no difference to the image, and to what follows, which of the two happens."""
        return (
            self.effects == other.effects
            and _get_lasting(self.changes) == _get_lasting(other.changes)
            and _is_same_end(self.ended, other.ended)
        )

    def find_differing(self, other: Outcome) -> set[str]:
        """Paths below ``/tmp`` and the like that are not the same on both."""
        paths = {path for path in self.changes.keys() | other.changes.keys() if SWEPT.match(path)}
        return {path for path in paths if self.changes.get(path, self) != other.changes.get(path, self)}


def _get_lasting(changes: Mapping[str, Node | None]) -> dict[str, Node | None]:
    """The changes that are not gone when the installation is over."""
    return {path: node for path, node in changes.items() if not SWEPT.match(path)}


def _is_same_end(one: Exit | Leave | None, other: Exit | Leave | None) -> bool:
    """Whether two ways go on at the same place."""
    if isinstance(one, Leave) and isinstance(other, Leave):
        return (one.levels, one.again) == (other.levels, other.again)
    return type(one) is type(other) and getattr(one, "status", None) == getattr(other, "status", None)


def get_lasting_effects(journal: list[Effect]) -> list[Effect]:
    """The effects that make a difference to the image. Answers are a part of the state, and compared there."""
    return [
        effect for effect in journal if effect.kind not in (EffectKind.DROPPED, EffectKind.GENERATED, EffectKind.ANSWER)
    ]
