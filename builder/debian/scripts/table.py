"""The table of all commands that scripts use: one file a subject says what its commands do.

A command that is not in the table, or is used in a way that its model does not know, is never guessed at: its lines are
unaccounted for.
"""

from __future__ import annotations

from dataclasses import replace

from builder.debian.scripts.commands.awk import AWK
from builder.debian.scripts.commands.sed import SED
from builder.debian.scripts.commands.text import TEXT
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Commands, Model, Shell, make_models
from builder.debian.scripts.subjects import (
    accounts,
    apache,
    builtins,
    catalogs,
    conditions,
    debconf,
    deferred,
    emacs,
    files,
    finding,
    generated,
    inetd,
    own_data,
    packaging,
    perl,
    postfix,
    postgresql,
    python,
    registries,
    services,
    system,
)
from builder.debian.scripts.subjects.own_data import FILTERS, filtered

TABLES = (
    accounts.COMMANDS,
    apache.COMMANDS,
    builtins.COMMANDS,
    catalogs.COMMANDS,
    conditions.COMMANDS,
    debconf.COMMANDS,
    deferred.COMMANDS,
    emacs.COMMANDS,
    files.COMMANDS,
    finding.COMMANDS,
    generated.COMMANDS,
    inetd.COMMANDS,
    own_data.COMMANDS,
    packaging.COMMANDS,
    perl.COMMANDS,
    postfix.COMMANDS,
    postgresql.COMMANDS,
    python.COMMANDS,
    registries.COMMANDS,
    services.COMMANDS,
    system.COMMANDS,
    make_models(
        TEXT | SED | AWK,
        accept_unknown=(
            *("grep", "egrep", "fgrep", "sed", "awk", "mawk", "cat", "tr", "cut", "head", "tail", "sort", "wc"),
            *("xargs", "basename", "dirname"),
        ),
        match_patterns=("sed", "grep", "egrep", "fgrep", "awk", "mawk", "gawk", "expr"),
        are_common_names=True,
    ),
)


def make_commands() -> Commands:
    """The table of all commands, for a shell."""
    models = {name: model for table in TABLES for name, model in table.items()}
    return models | {name: _make_filter_model(name, models.get(name)) for name in FILTERS}


def _make_filter_model(name: str, model: Model | None) -> Model:
    """The model of a filter, which leaves to the machine what only the machine says."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        if filtered(shell, [name, *arguments]):
            return 0
        return shell.run_program(name, arguments) if model is None else shell.run_model(name, model, arguments)

    return replace(model or Model(run), run=run, accepts_unknown=True, matches_patterns=False)
