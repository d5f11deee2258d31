"""Programs, files and archives that are no Debian packages, put where the definition says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.stages.stage import Context
from builder.tree.tree import Tree


@dataclass(frozen=True)
class Artifacts:
    """Verify each artifact by hash and signature, unpack it if it is an archive, and place it."""

    name: ClassVar[str] = "artifacts"
    checkpoint: ClassVar[bool] = False

    artifacts: tuple[PlacedArtifact, ...]

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with the artifacts in it.

        Raises:
            SourceError: one is not what the lock says, or is not signed as the definition wants it.
            InputError: one cannot be unpacked or placed.
        """
        if not self.artifacts:
            return tree
        from builder.artifacts.place import place_artifacts  # noqa: PLC0415 - every plan imports this module

        place_artifacts(tree, self.artifacts, context.store, context.tools, partial(_make_accounts, context))
        return tree


def _make_accounts(context: Context, tree: Tree) -> None:
    """The users that overlays declare: an artifact may belong to one of them."""
    # Here, because a build that has nothing to do needs no models of scripts.
    from builder.debian.scripts.subjects.base_accounts import install_system_accounts  # noqa: PLC0415
    from builder.debian.scripts.work import Work  # noqa: PLC0415

    install_system_accounts(Work(tree, {}, context.tools, context.scratch))
