"""Taking kernel modules out of a tree: drivers of what an image's platforms have not, and what is removed by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from builder.core.platform_devices import FAMILIES, list_missing_families
from builder.tree.modules import Modules, decompress_module, parse_module_name, read_modules
from builder.tree.node import Kind
from builder.tree.tree import Tree

FIRMWARE = "/usr/lib/firmware"


def find_unneeded_modules(
    modules: Modules,
    platforms: Iterable[str],
    remove: Iterable[str] = (),
    keep: Iterable[str] = (),
    wanted: Iterable[str] = (),
) -> set[str]:
    """Paths of the modules that go, below ``/usr/lib/modules/RELEASE``: drivers of what no platform has, what is
    removed by name, what could not be loaded without those, and what serves nothing but those.

    Args:
        platforms: those that an image is for; none means all.
        remove: globs of absolute paths.
        keep: globs of what stays although ``remove`` matches.
        wanted: names of modules that stay, with what they need, whatever they are drivers of.
    """
    globs = [glob for family in list_missing_families(platforms) for glob in FAMILIES[family]]
    expressions = [re.compile(translate(f"kernel/{glob}.ko*")) for glob in globs]
    removed, kept = (re.compile("|".join(map(translate, globs_)) or "(?!)") for globs_ in (remove, keep))
    stays = modules.find_needed(wanted)
    gone = {
        path
        for path in modules.needs
        if path not in stays
        and (
            any(expression.match(_normalise(path)) for expression in expressions)
            or (removed.match(f"{modules.base}/{path}") and not kept.match(f"{modules.base}/{path}"))
        )
    }
    users: dict[str, set[str]] = {}
    for path, needs in modules.needs.items():
        for needed in needs:
            users.setdefault(needed, set()).add(path)
    libraries = {path for path in users if parse_module_name(path) not in modules.asked_for}
    while True:
        more = {path for lost in gone for path in users.get(lost, ())} - gone - stays
        more |= {path for path in libraries - gone - stays if users[path] <= gone}
        if not more:
            return gone
        gone |= more


def _normalise(path: str) -> str:
    """A path without what differs between spellings of a name: ``-`` and ``_``."""
    return path.replace("-", "_")


def remove_modules(
    tree: Tree,
    release: str,
    platforms: Iterable[str],
    remove: Iterable[str] = (),
    keep: Iterable[str] = (),
    wanted: Iterable[str] = (),
) -> list[str]:
    """Take the modules out that :func:`find_unneeded_modules` finds, and the firmware that those alone would load.

    The index must be made anew afterwards.

    Returns:
        the paths of the modules.

    Raises:
        TreeError: the index is missing, or a module is broken.
    """
    modules = read_modules(tree, release)
    gone = find_unneeded_modules(modules, platforms, remove, keep, wanted)
    paths = {f"{modules.base}/{path}" for path in gone}
    if FIRMWARE in tree:
        kept = _list_firmware(tree, modules, modules.needs.keys() - gone)
        lost = [name for name in _list_firmware(tree, modules, gone) if name not in kept]
        expression = re.compile("|".join(translate(f"{FIRMWARE}/{name}*") for name in lost) or "(?!)")
        files = (path for path, node in tree.walk(FIRMWARE) if node.kind is Kind.FILE)
        paths |= {path for path in files if expression.match(path)}
    tree.discard(paths)
    return sorted(f"{modules.base}/{path}" for path in gone)


def _list_firmware(tree: Tree, modules: Modules, paths: Iterable[str]) -> set[str]:
    """The names of firmware that modules say they load, below ``/usr/lib/firmware``; some are globs."""
    names: set[str] = set()
    for path in paths:
        full = f"{modules.base}/{path}"
        _, node = decompress_module(full, tree.require(full))
        names.update(
            name.decode("utf-8", "replace") for name in re.findall(rb"\0firmware=([^\0]+)", node.content.read())
        )
    return names
