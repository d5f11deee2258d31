"""What commands do, one file a subject: functions of the shell and the arguments that return an exit status.

A command that is not in the table, or is used in a way that its function does not know, is never guessed at: its
lines are unaccounted for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from builder.debian.scripts.commands.accounts import ACCOUNTS
from builder.debian.scripts.commands.apache import APACHE
from builder.debian.scripts.commands.awk import AWK
from builder.debian.scripts.commands.builtins import BUILTINS
from builder.debian.scripts.commands.catalogs import CATALOG_COMMANDS
from builder.debian.scripts.commands.conditions import CONDITIONS
from builder.debian.scripts.commands.debconf import DEBCONF
from builder.debian.scripts.commands.deferred import DEFERRED_COMMANDS
from builder.debian.scripts.commands.emacs import EMACS
from builder.debian.scripts.commands.files import FILES
from builder.debian.scripts.commands.finding import find
from builder.debian.scripts.commands.generated import GENERATED
from builder.debian.scripts.commands.own_data import FILTERS, OWN_DATA, filtered
from builder.debian.scripts.commands.packaging import PACKAGING_COMMANDS
from builder.debian.scripts.commands.postfix import POSTFIX
from builder.debian.scripts.commands.postgresql import POSTGRESQL
from builder.debian.scripts.commands.python import PYTHON
from builder.debian.scripts.commands.registries import REGISTRIES
from builder.debian.scripts.commands.sed import SED
from builder.debian.scripts.commands.services import SERVICES
from builder.debian.scripts.commands.system import SYSTEM
from builder.debian.scripts.commands.text import TEXT
from builder.debian.scripts.shell import Commands, Model, Shell, Status

_RUN: dict[str, Callable[[Shell, list[str]], Status]] = {
    **BUILTINS, **CONDITIONS, **FILES, **TEXT, **SED, **AWK, **ACCOUNTS, **PACKAGING_COMMANDS, **SERVICES, **DEBCONF,
    **GENERATED, **SYSTEM, **PYTHON, **APACHE, **CATALOG_COMMANDS, **REGISTRIES, **OWN_DATA, **POSTGRESQL, **POSTFIX,
    **DEFERRED_COMMANDS, **EMACS, "find": find,
}  # fmt: skip
_ACCEPT_UNKNOWN = frozenset(
    ("echo", "printf", "test", "[", "[[", "dpkg", "grep", "egrep", "fgrep", "sed", "awk", "mawk", "command", "which",
     "local", "export", "readonly", "set", "true", ":", "logger", "return", "exit", "eval", "db_subst", "cat", "ls",
     "kill", "db_set", "service", "invoke-rc.d", "systemctl", "udevadm", "modprobe", "date", "ssh-keygen", "tr", "cut",
     "head", "tail", "getent", "ip", "pgrep", "pidof", "sort", "wc", "xargs", "basename", "dirname", "postconf")
)  # fmt: skip
# A program of a package's own may have the name of one of these: /usr/lib/dh-elpa/helper/install.
_COMMON_NAMES = frozenset((*FILES, *TEXT))
_MATCH_PATTERNS = frozenset(("sed", "grep", "egrep", "fgrep", "awk", "mawk", "gawk", "expr", "find", "perl", "[["))


def make_commands() -> Commands:
    """The table of all commands, for a shell."""
    models: dict[str, Model] = {
        name: Model(run, name in _ACCEPT_UNKNOWN, name in _COMMON_NAMES, name in _MATCH_PATTERNS)
        for name, run in _RUN.items()
    }
    return models | {name: _filter_model(name, models.get(name)) for name in FILTERS}


def _filter_model(name: str, model: Model | None) -> Model:
    """The model of a filter, which leaves to the machine what only the machine says."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        if filtered(shell, [name, *arguments]):
            return 0
        return shell.run_program(name, arguments) if model is None else shell.run_model(name, model, arguments)

    return replace(model or Model(run), run=run, accepts_unknown=True, matches_patterns=False)
