"""What a handler is given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.tools import Tools
from builder.debian.scripts.decisions import Decision
from builder.debian.scripts.effects import Effect, EffectKind, Evaluation
from builder.debian.scripts.sandbox.root import LargeFiles
from builder.debian.scripts.target_system import Installation
from builder.tree.materialise import Workdir, materialise
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.debian.scripts.language.evaluator import Commands

ORIGIN = "stage:packages"  # of what handlers make


@dataclass(frozen=True)
class Work:
    """The tree to edit, the maintainer scripts of its packages, and the door to programs.

    Attributes:
        scripts: package name -> script name (``postinst`` ...) -> text, in the order in which packages are configured.
        commands: what the commands of scripts do.
        installation: what all scripts can ask for: architecture, versions.
        decisions: what the definition says about scripts that build-os does not model, by package.
        evaluations: what the scripts do, once they were evaluated.
        ran: packages whose scripts were run, and what changed, in one line.
    """

    tree: Tree
    scripts: Mapping[str, Mapping[str, str]]
    tools: Tools
    scratch: Path
    commands: Commands = field(default_factory=dict)
    installation: Installation = field(default_factory=lambda: Installation("all", {}))
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    ran: dict[str, str] = field(default_factory=dict)

    @cached_property
    def large(self) -> LargeFiles:
        """Large files for the roots that scripts are run over."""
        return LargeFiles(self.scratch / "large-files")

    def list_effects(self, does: EffectKind) -> Iterator[Effect]:
        """What scripts do of one kind, in order."""
        return (effect for evaluation in self.evaluations for effect in evaluation.effects if effect.kind is does)

    @contextmanager
    def materialise_parts(self, *paths: str) -> Iterator[Workdir]:
        """The named parts of the tree as a directory that is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="part-") as root:
            yield materialise(self.tree, Path(root), paths)

    def has(self, path: str) -> bool:
        """Whether the tree has something at this path, through links."""
        return self.tree.get(path, follow=True) is not None
