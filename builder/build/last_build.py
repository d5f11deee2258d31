"""What the last builds of a definition left in the store: their finished trees, as long as those are kept."""

from __future__ import annotations

from pathlib import Path

from builder.core.store import Store
from builder.stages.plan import find_recorded_key, is_usable, load_snapshot
from builder.tree.tree import Tree


def find_built_tree(store: Store, definition: Path, *, earlier: bool = False) -> Tree | None:
    """The tree of the definition's last build, or of the one before that had another; ``None`` if it is not kept."""
    key = find_recorded_key(store, definition, earlier=earlier)
    if key is None or not is_usable(store, key):
        return None
    try:
        return load_snapshot(store, key)
    except ValueError:  # it is damaged
        return None
