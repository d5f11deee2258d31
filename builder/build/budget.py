"""How large what a build makes may become, and what takes the room where it is larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from builder.core.console import format_size
from builder.core.errors import InputError
from builder.definition.model import ExtensionBudget
from builder.outputs.manifest import Artifact
from builder.report.sizes import format_difference, list_changes, measure_sizes
from builder.tree.tree import Tree

SHOWN = 5  # culprits
# What a budget's names mean, of the artifacts that every build of a system has.
COMPANIONS = {"boot": "uki", "initrd": "initrd"}


def require_budget(
    budget: ExtensionBudget,
    artifacts: Mapping[str, Artifact],
    products: Sequence[str],
    root: int,
    tree: Tree,
    find_before: Callable[[], Tree | None],
) -> None:
    """Refuse what has become too large.

    Args:
        products: the kinds of the artifacts that are an image.
        root: of the root's image, in bytes.
        tree: what is in the image; its largest packages are named.
        find_before: finds what was in the last one; what has grown since is named first.

    Raises:
        InputError: one of them is over its budget.
    """
    sizes = [("root", budget.root, "the root file system", root)]
    sizes += [("image", budget.image, artifacts[name].path, artifacts[name].size) for name in products]
    for name, kind in COMPANIONS.items():
        if kind in artifacts:
            sizes.append((name, getattr(budget, name), artifacts[kind].path, artifacts[kind].size))
    problems = [
        f"{what} has {format_size(size)}, {format_size(size - limit)} more than budget.{name} ({limit}) allows"
        for name, limit, what, size in sizes
        if limit is not None and size > limit
    ]
    if problems:
        raise InputError(
            problems[0],
            details=(*problems[1:], *find_culprits(tree, find_before())),
            hint="'build-os size' says what takes room; raise the budget, or take something out ('remove', 'exclude')",
        )


def find_culprits(tree: Tree, before: Tree | None) -> list[str]:
    """What has grown since another tree, and what is largest, each a line."""
    now = measure_sizes(tree, {}).packages
    changes = [] if before is None else list_changes(measure_sizes(before, {}).packages, now)
    lines = [f"since the last build: {format_difference(size)} {name}" for name, size in changes[:SHOWN] if size > 0]
    return lines + [f"largest: {format_size(size)} {name}" for name, size in [*now.items()][:SHOWN]]
