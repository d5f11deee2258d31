"""The user's files, laid over the root in the order the definition names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from builder.definition.shipped import NamedDirectory
from builder.definition.template import Values, render_file
from builder.stages.stage import Context
from builder.tree.materialise import read_tree
from builder.tree.node import Kind, make_file
from builder.tree.tree import Tree

TEMPLATE = ".j2"


@dataclass(frozen=True)
class Overlays:
    """Copy each overlay; fill in its templates."""

    name: ClassVar[str] = "overlays"
    checkpoint: ClassVar[bool] = False

    overlays: tuple[NamedDirectory, ...]
    values: Values

    def apply(self, tree: Tree, context: Context) -> Tree:  # noqa: ARG002 - every stage has the same door
        """The tree with the overlays on it."""
        lay_over(tree, self.overlays, self.values)
        return tree


def lay_over(tree: Tree, overlays: Sequence[NamedDirectory], values: Values) -> None:
    """Put the files of overlays into a tree. Directories that are there keep their owner and mode.

    Raises:
        InputError: a template does not fill in.
        TreeError: a file stands where the image has a directory with content, or the other way round.
    """
    for overlay in overlays:
        for path, node in read_tree(overlay.path, origin=f"overlay:{overlay.name}").walk():
            # Bytecode is the host's: an installed build-os has it beside each module, a checkout after a test.
            if path in ("/", "/README.md") or "/__pycache__/" in f"{path}/":
                continue
            if node.kind is Kind.DIRECTORY:
                known = tree.get(path, follow=True)
                if known is not None and known.kind is Kind.DIRECTORY:
                    continue
            elif path.endswith(TEMPLATE):
                text = render_file(overlay.path / path.lstrip("/"), values)
                tree.put(path.removesuffix(TEMPLATE), make_file(text, node.mode, origin=node.origin))
                continue
            tree.put(path, node)
