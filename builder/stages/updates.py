"""What makes a machine update itself: the ``update`` package, its command, and what the definition says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from builder.core.errors import InputError
from builder.definition.update_models import Updates as Settings
from builder.stages.stage import Context
from builder.stages.unit_sections import format_sections
from builder.tree.bytecode import compile_below
from builder.tree.materialise import read_tree
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree
from firstboot.config.update_words import is_for_development
from update.agent.migrations import PENDING
from update.agent.settings import ROOT, SETTINGS

ORIGIN = "stage:updates"
PACKAGE = "/usr/lib/python3/dist-packages/update"
COMMAND = "/usr/bin/os-update"
# -I: what the caller's directory and environment hold is not imported.
SCRIPT = '#!/bin/sh\nexec /usr/bin/python3 -I -m update.agent.command "$@"\n'
# Shown above the prompt of a console (agetty(8)).
ISSUE = "/usr/lib/issue.d/60-development-keys.issue"
DEVELOPMENT_KEYS = "This machine takes updates that development keys have signed: do not rely on it.\n"
UNITS = "/usr/lib/systemd/system"
MIGRATE, MIGRATED = "update-migrate.service", "update-migrated.service"
TARGET = "/usr/lib/systemd/system/boot-complete.target.d/60-definition.conf"


@dataclass(frozen=True)
class Updates:
    """Copy the ``update`` package and write what the definition's ``updates`` says.

    Attributes:
        package: the directory of the package, as it lies beside the builder.
        settings: the definition's.
        arch: what the image is for.
        root: the file that says who may publish, or ``None`` where versions are brought by hand.
        after_migrations: apps and containers, by name: they start when the state has the form that they expect.
    """

    name: ClassVar[str] = "updates"
    checkpoint: ClassVar[bool] = False

    package: Path
    settings: Settings
    arch: str
    root: Path | None
    after_migrations: tuple[str, ...] = ()

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
            root = self.root.read_bytes()
            tree.put(ROOT, make_file(root, origin=ORIGIN))
            if is_for_development(root):
                tree.put(ISSUE, make_file(DEVELOPMENT_KEYS, origin=ORIGIN))
        tree.put(TARGET, make_file(make_target(self.settings), origin=ORIGIN))
        order_migrations(tree, self.settings.migrations, self.after_migrations)
        return tree


def order_migrations(tree: Tree, migrations: Sequence[str], waiting: Sequence[str]) -> None:
    """Have what changes the state come one after the other, before what works with it.

    Args:
        migrations: units of the image.
        waiting: apps and containers, by name.

    Raises:
        InputError: the image has no such unit.
    """
    for unit in migrations:
        if all(tree.get(f"{directory}/{unit}") is None for directory in (UNITS, "/etc/systemd/system")):
            raise InputError(
                f"updates.migrations: the image has no unit {unit}",
                hint="put it into a directory of units, or name the package that has it",
            )
    if not migrations:
        return
    texts = {unit: make_migration(migrations[:index]) for index, unit in enumerate(migrations)}
    texts[MIGRATED] = make_order(migrations)
    for name in waiting:
        # Of an app with several instances there is a template.
        template = f"{name}@.service"
        texts[f"{name}.service" if tree.get(f"{UNITS}/{template}") is None else template] = make_order([MIGRATED])
    for unit, text in texts.items():
        tree.put(f"{UNITS}/{unit}.d/60-migrations.conf", make_file(text, origin=ORIGIN))
    tree.put(f"{UNITS}/multi-user.target.wants/{MIGRATED}", make_symlink(f"../{MIGRATED}", origin=ORIGIN))


def make_settings(settings: Settings, arch: str) -> dict[str, Any]:
    """What the agent reads (:mod:`update.agent.settings`)."""
    return {
        "arch": arch,
        "tries": settings.tries,
        "url": settings.url or "",
        "channel": settings.channel,
        "rate": int(settings.rate or 0),
        "window": None if settings.window is None else settings.window.model_dump(),
        "migrations": [*settings.migrations],
        "fleet_lock": None if settings.fleet_lock is None else settings.fleet_lock.model_dump(),
    }


def make_target(settings: Settings) -> str:
    """What ``boot-complete.target`` of the image waits for, and how long (systemd.unit(5))."""
    lines = [f"JobTimeoutSec={settings.boot_minutes}min"]
    units = (*settings.health, *([MIGRATED] if settings.migrations else []))
    lines += [f"{key}={unit}" for unit in units for key in ("Requires", "After")]
    return "[Unit]\n" + "".join(f"{line}\n" for line in lines)


def make_order(units: Sequence[str]) -> str:
    """A drop-in: a unit starts when these have, and not without them."""
    return format_sections([("Unit", [(key, " ".join(units)) for key in ("Requires", "After")])])


def make_migration(before: Sequence[str]) -> str:
    """A drop-in for a unit that changes the state: it runs where there is something to do, after those before it."""
    units = " ".join((MIGRATE, *before))
    unit = [("Requires", units), ("After", units), ("Before", MIGRATED), ("ConditionPathExists", PENDING)]
    service = [("Type", "oneshot"), ("RemainAfterExit", "yes"), ("EnvironmentFile", PENDING)]
    return format_sections([("Unit", unit), ("Service", service)])
