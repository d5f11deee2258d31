"""The provisioner, shipped whole into the image, and the config that is baked in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builder.stages.stage import Context
from builder.tree.bytecode import compile_below
from builder.tree.materialise import read_tree
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree
from firstboot.platform_index import fill_in, make_index

ORIGIN = "stage:firstboot"
INDEX = "/platform_index.py"
PACKAGE = "/usr/lib/python3/dist-packages/firstboot"
BASE = "/usr/lib/firstboot/base.d"
COMMAND = "/usr/bin/firstboot"
# -I, as the unit of the first boot has it: what the caller's directory and environment hold is not imported.
SCRIPT = '#!/bin/sh\nexec /usr/bin/python3 -I -m firstboot "$@"\n'


@dataclass(frozen=True)
class FirstBoot:
    """Copy the ``firstboot`` package and the definition's base config.

    Attributes:
        package: the directory of the package, as it lies beside the builder.
        base: a first-boot config that every machine of this image gets, before its own.
    """

    name: ClassVar[str] = "firstboot"
    checkpoint: ClassVar[bool] = True

    package: Path
    base: Path | None

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree, able to provision itself."""
        for path, node in read_tree(self.package, origin=ORIGIN).walk():
            if path == INDEX:
                text = fill_in((self.package / path[1:]).read_text(encoding="utf-8"), make_index())
                tree.put(PACKAGE + path, make_file(text, origin=ORIGIN))
            elif path.endswith(".py") and "/__pycache__/" not in path:
                tree.put(PACKAGE + path, node.copy_with(mode=0o644))
        tree.put(COMMAND, make_file(SCRIPT, 0o755, origin=ORIGIN))
        compile_below(tree, context.tools, [PACKAGE], origin=ORIGIN, scratch=context.scratch)
        tree.put(BASE, make_directory(origin=ORIGIN))
        if self.base is not None:
            suffix = self.base.suffix if self.base.suffix in (".yaml", ".json", ".ign") else ".yaml"
            tree.put(f"{BASE}/10-image{suffix}", make_file(self.base.read_bytes(), 0o600, origin=ORIGIN))
        return tree
