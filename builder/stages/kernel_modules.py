"""The kernel modules of the platforms that an image is for, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from builder.core.console import format_size
from builder.core.platform_devices import MODULES
from builder.stages.stage import Context
from builder.tree.drivers import remove_modules
from builder.tree.modules import find_kernel_release, index_modules
from builder.tree.tree import Tree


@dataclass(frozen=True)
class KernelModules:
    """Take out what is driver of no device that the platforms have, and what is removed by name; index the rest anew.

    Attributes:
        platforms: what the image is for; empty means all.
        remove: globs of paths below ``/usr/lib/modules``.
        keep: globs of what stays although ``remove`` matches.
        wanted: names of modules that stay.
    """

    name: ClassVar[str] = "kernel-modules"
    checkpoint: ClassVar[bool] = True

    platforms: tuple[str, ...]
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with fewer modules, and an index that names no other.

        Raises:
            TreeError: there is no kernel, or not one.
            ToolError: the index cannot be made.
        """
        release = find_kernel_release(tree)
        before = sum(node.content.size for path, node in tree.walk(f"{MODULES}/{release}/kernel") if _is_module(path))
        gone = remove_modules(tree, release, self.platforms, self.remove, self.keep, self.wanted)
        left = sum(node.content.size for path, node in tree.walk(f"{MODULES}/{release}/kernel") if _is_module(path))
        context.console.note(
            f"{len(gone)} kernel modules are left out ({format_size(before - left)} of {format_size(before)})"
        )
        with context.console.open_step("index kernel modules"):
            index_modules(tree, context.tools, context.scratch, origin=f"stage:{self.name}")
        return tree


def _is_module(path: str) -> bool:
    return ".ko" in path.rpartition("/")[2]
