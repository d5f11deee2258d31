"""What makes a machine update itself: the ``update`` package, its command, and what the definition says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from builder.definition.update_models import Updates as Settings
from builder.stages.stage import Context
from builder.tree.bytecode import compile_below
from builder.tree.materialise import read_tree
from builder.tree.node import make_file
from builder.tree.tree import Tree
from update.agent.settings import ROOT, SETTINGS

ORIGIN = "stage:updates"
PACKAGE = "/usr/lib/python3/dist-packages/update"
COMMAND = "/usr/bin/os-update"
# -I: what the caller's directory and environment hold is not imported.
SCRIPT = '#!/bin/sh\nexec /usr/bin/python3 -I -m update.agent.command "$@"\n'
TARGET = "/usr/lib/systemd/system/boot-complete.target.d/60-definition.conf"


@dataclass(frozen=True)
class Updates:
    """Copy the ``update`` package and write what the definition's ``updates`` says.

    Attributes:
        package: the directory of the package, as it lies beside the builder.
        settings: the definition's.
        arch: what the image is for.
        root: the file that says who may publish, or ``None`` where versions are brought by hand.
    """

    name: ClassVar[str] = "updates"
    checkpoint: ClassVar[bool] = False

    package: Path
    settings: Settings
    arch: str
    root: Path | None

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree, able to update itself."""
        for path, node in read_tree(self.package, origin=ORIGIN).walk():
            if path.endswith(".py") and "/__pycache__/" not in path:
                tree.put(PACKAGE + path, node.copy_with(mode=0o644))
        compile_below(tree, context.tools, [PACKAGE], origin=ORIGIN, scratch=context.scratch)
        tree.put(COMMAND, make_file(SCRIPT, 0o755, origin=ORIGIN))
        text = json.dumps(make_settings(self.settings, self.arch), sort_keys=True)
        tree.put(SETTINGS, make_file(f"{text}\n", origin=ORIGIN))
        if self.root is not None:
            tree.put(ROOT, make_file(self.root.read_bytes(), origin=ORIGIN))
        tree.put(TARGET, make_file(make_target(self.settings), origin=ORIGIN))
        return tree


def make_settings(settings: Settings, arch: str) -> dict[str, Any]:
    """What the agent reads (:mod:`update.agent.settings`)."""
    return {
        "arch": arch,
        "tries": settings.tries,
        "url": settings.url or "",
        "channel": settings.channel,
        "rate": int(settings.rate or 0),
        "window": None if settings.window is None else settings.window.model_dump(),
        "fleet_lock": None if settings.fleet_lock is None else settings.fleet_lock.model_dump(),
    }


def make_target(settings: Settings) -> str:
    """What ``boot-complete.target`` of the image waits for, and how long (systemd.unit(5))."""
    lines = [f"JobTimeoutSec={settings.boot_minutes}min"]
    lines += [f"{key}={unit}" for unit in settings.health for key in ("Requires", "After")]
    return "[Unit]\n" + "".join(f"{line}\n" for line in lines)
