"""What a stage is: a frozen dataclass whose fields, with the tools tree, are everything it depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from builder.core.console import Console
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import LockedPackage, LockedRun
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.debian.contents import Owner


@dataclass(frozen=True)
class Context:
    """The doors a stage may go through, and a directory for what it makes on the way.

    Attributes:
        refetch: gets a deb again that turned out to be damaged in the store; ``None`` where that cannot be.
        find_owners: asks the archive which packages have files of these names; ``None`` where it cannot be asked.
        runs: what maintainer scripts changed that were run; stages add to it.
    """

    tools: Tools
    store: Store
    console: Console
    scratch: Path
    refetch: Callable[[LockedPackage], None] | None = None
    find_owners: Callable[[Collection[str]], Mapping[str, Sequence[Owner]] | None] | None = None
    runs: list[LockedRun] = field(default_factory=list)


class Stage(Protocol):
    """One step from an empty tree to the finished one. Implementations are frozen dataclasses."""

    name: ClassVar[str]
    checkpoint: ClassVar[bool]

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree after this stage. The tree handed in is the stage's own and may be changed."""
