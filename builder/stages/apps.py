"""Apps: each one's own modules with their bytecode, its settings, and the units that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builder.definition.resolved_app import ResolvedApp
from builder.stages.stage import Context
from builder.tree.tree import Tree


@dataclass(frozen=True)
class Apps:
    """Put the apps into the image.

    Attributes:
        support: the overlay with the programs that the units of apps start.
    """

    name: ClassVar[str] = "apps"
    checkpoint: ClassVar[bool] = False

    apps: tuple[ResolvedApp, ...]
    support: Path

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with the apps.

        Raises:
            InputError: an app names a script, module or function that is not there, or its name is a user's.
        """
        if self.apps:
            from builder.stages.app_installation import install_apps  # noqa: PLC0415 - every plan imports this module

            install_apps(tree, self.apps, self.support, context)
        return tree
