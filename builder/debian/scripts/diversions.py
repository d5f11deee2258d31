"""Diversions that packages set up before they are unpacked: another package's file goes out of the way.

Source: dpkg-divert(1); Debian Policy, appendix G.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from builder.debian.pack import Pack
from builder.debian.scripts.effects import EffectKind
from builder.tree.node import make_symlink
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.debian.scripts.language.evaluator import Commands


def find_diversions(packs: Iterable[Pack], commands: Commands) -> dict[str, tuple[str, str]]:
    """Path -> (where others' files of that path go, the package that has the path to itself)."""
    from builder.debian.scripts.evaluate import evaluate  # noqa: PLC0415 - every plan imports this module
    from builder.debian.scripts.target_system import Installation  # noqa: PLC0415

    diversions: dict[str, tuple[str, str]] = {}
    for pack in sorted(packs, key=lambda pack: pack.name):
        script = pack.find_script("preinst")
        if script is None or "dpkg-divert" not in script:
            continue
        tree = Tree()
        for name in ("bin", "sbin", "lib", "lib64"):
            tree.put(f"/{name}", make_symlink(f"usr/{name}", origin="package:base-files"))
        installation = Installation(pack.package.architecture, {})
        for evaluation in evaluate(tree, pack.name, {"preinst": script}, installation, commands):
            for effect in evaluation.effects:
                if effect.kind is EffectKind.DIVERSION:
                    target, package = map(str, effect.data)
                    diversions.setdefault(effect.name, (target, package))
    return diversions
