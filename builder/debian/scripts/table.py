"""The table of all commands that scripts use: one file a subject says what its commands do.

A command that is not in the table, or is used in a way that its model does not know, is never guessed at: its lines are
not modelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from builder.core.filters import Filters, ToolFilters
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.scripts.filters import make_filters
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Commands, Model, Shell
from builder.debian.scripts.subjects import (
    accounts,
    alternatives,
    apache,
    base_accounts,
    builtins,
    capabilities,
    catalogs,
    certificates,
    conditions,
    configuration_files,
    debconf,
    dpkg,
    files,
    finding,
    generated,
    indexes,
    inetd,
    own_data,
    pam,
    perl,
    postfix,
    postgresql,
    programs,
    python,
    registries,
    services,
    system,
    text,
)
from builder.debian.scripts.subjects.desktop import caches, emacs
from builder.debian.scripts.subjects.own_data import FILTERS, filtered

TABLES = (
    accounts.COMMANDS,
    alternatives.COMMANDS,
    apache.COMMANDS,
    base_accounts.COMMANDS,
    builtins.COMMANDS,
    caches.COMMANDS,
    capabilities.COMMANDS,
    catalogs.COMMANDS,
    certificates.COMMANDS,
    conditions.COMMANDS,
    configuration_files.COMMANDS,
    debconf.COMMANDS,
    dpkg.COMMANDS,
    emacs.COMMANDS,
    files.COMMANDS,
    finding.COMMANDS,
    generated.COMMANDS,
    indexes.COMMANDS,
    inetd.COMMANDS,
    own_data.COMMANDS,
    pam.COMMANDS,
    perl.COMMANDS,
    postfix.COMMANDS,
    postgresql.COMMANDS,
    programs.COMMANDS,
    python.COMMANDS,
    registries.COMMANDS,
    services.COMMANDS,
    system.COMMANDS,
    text.COMMANDS,
)


@contextmanager
def open_commands(tools: Tools, store: Store) -> Iterator[Commands]:
    """The table of all commands, with the filters of a tools tree; what they answer is kept in the store."""
    with ToolFilters(tools, store) as filters:
        yield make_commands(filters)


def make_commands(filters: Filters) -> Commands:
    """The table of all commands, for a shell.

    Args:
        filters: who runs sed, grep and their like.
    """
    models = {name: model for table in (*TABLES, make_filters(filters)) for name, model in table.items()}
    return models | {name: _make_filter_model(name, models.get(name)) for name in FILTERS}


def _make_filter_model(name: str, model: Model | None) -> Model:
    """The model of a filter, which leaves to the machine what only the machine says."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        if filtered(shell, [name, *arguments]):
            return 0
        return shell.run_program(name, arguments) if model is None else shell.run_model(name, model, arguments)

    return replace(model or Model(run), run=run, accepts_unknown=True, matches_patterns=False)
