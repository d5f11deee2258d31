"""The handlers, in order, and what runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from builder.core.console import Console
from builder.core.parallel import run_parallel
from builder.core.store import Store
from builder.debian.scripts import configure
from builder.debian.scripts.kept_indexes import make_index
from builder.debian.scripts.subjects import (
    alternatives,
    base_accounts,
    catalogs,
    certificates,
    configuration_files,
    indexes,
    own_data_units,
    pam,
    programs,
    python,
    services,
)
from builder.debian.scripts.subjects.desktop import caches, java
from builder.debian.scripts.work import Work
from builder.tree.tree import Tree

Handler = Callable[[Work], None]

# In order: each sees what those before it did.
HANDLERS: tuple[tuple[str, Handler], ...] = (
    ("create static users and groups", base_accounts.install_base_accounts),
    ("create system users", base_accounts.install_system_accounts),
    ("evaluate maintainer scripts", configure.evaluate_scripts),
    ("leave to machines what is theirs", own_data_units.install_own_data),
    ("write PAM profiles", pam.install_profiles),
    ("note which services start", services.install_presets),
    ("choose alternatives", alternatives.install_alternatives),
    ("run programs over what packages brought", programs.run_programs),
    ("collect SGML catalogs", catalogs.install_sgml_catalog),
    ("complete the configuration", configuration_files.install_defaults),
)
# After those, and beside each other: each sees what all of HANDLERS did, and writes what no other one writes or reads.
# What takes longest is begun first.
INDEXES: tuple[tuple[str, Handler], ...] = (
    ("index kernel modules", indexes.make_module_index),
    ("compile Python modules", python.install_bytecode),
    ("index hardware", indexes.make_hardware_database),
    ("collect certificate authorities", certificates.install_bundle),
    ("make caches of modules, schemas, types and icons", caches.make_caches),
    ("collect certificate authorities for Java", java.install_key_store),
    ("index shared libraries", indexes.make_library_cache),
    ("index messages", indexes.make_message_catalog),
)


def run_handlers(work: Work, console: Console, store: Store | None = None) -> None:
    """Run all of :data:`HANDLERS`, then all of :data:`INDEXES`, over the tree. Who is faster makes no difference.

    Args:
        store: where indexes are looked for and left.
    """
    for title, handler in HANDLERS:
        with console.open_step(title):
            handler(work)
    before = work.tree.copy()

    def index(title: str, handler: Handler) -> Tree:
        with console.open_step(title):
            return make_index(handler, replace(work, tree=before), store, console)

    for tree in run_parallel(*(partial(index, title, handler) for title, handler in INDEXES)):
        work.tree.take_changes(tree, since=before)
