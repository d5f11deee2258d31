"""What a script finds around it in the sandbox: debconf without a frontend, and commands that only make a note.

What starts or registers something is not run: a build does that itself, once for the whole image. A command of that
kind writes down how it was called, and the evaluator's model of it does the rest afterwards.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.core.sandbox import OURS
from builder.debian.scripts.sandbox.root import SHOWN
from builder.debian.scripts.subjects.programs import make_perl_client
from builder.debian.scripts.table import TABLES
from builder.debian.scripts.target_system import UNKNOWN
from builder.tree.node import Node, make_file

ORIGIN = "stage:packages"
CALLS = "calls"  # below the sandbox' state
NOTES = f"{OURS}/state/{CALLS}"
SHELL_CLIENT, PERL_CLIENT = "/usr/share/debconf/confmodule", "/usr/share/perl5/Debconf/Client/ConfModule.pm"
# Answered by the models with "no": nothing runs where an image is made.
NO = frozenset(("pidof", "pgrep", "runlevel", "selinuxenabled", "aa-status", "aa-enabled", "ischroot", "mountpoint"))
# Whatever the image has: a script may rely on them.
ALWAYS = frozenset(("systemctl", "deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d", "service",
                    "dpkg-trigger", "update-alternatives", "logger"))  # fmt: skip
MODELLED = frozenset(name for table in TABLES for name, model in table.items() if model.is_replayed)
# What debconf's clients note: the answers outlive the script.
ASKED = frozenset(("db_set", "db_subst", "db_fset", "db_register", "db_input", "db_go"))
# Shell builtins, and words that a script may have for a function of its own.
NOT_PROGRAMS = frozenset(("kill", "reload", "restart", "run-parts-kernel"))
NOTE = """#!/bin/sh
{{ printf '%s\\0' {name} "$#" "$@"; }} >>{calls}
{status}
"""
STATUS = {
    "systemctl": 'case "$*" in *is-active*|*is-enabled*|*is-failed*|*is-system-running*|*status*|*show*|*list-*)'
    " exit 1;; esac",
    "deb-systemd-helper": 'case "$*" in *debian-installed*|*is-enabled*) exit 1;; esac',
    # What only asks is answered by the program itself, if the image has it.
    "update-alternatives": 'case "$*" in *--query*|*--list*|*--display*|*--get-selections*)'
    ' exec /usr/bin/update-alternatives "$@";; esac',
}
CLIENT = """# debconf, answered by the definition and by the templates of packages; nobody is asked.
_db_name() {{ printf %s "$1" | tr -c 'A-Za-z0-9' '_'; }}
_db_value() {{ case "$1" in
{cases}
*) RET=; return 10;; esac; }}
db_get() {{ if eval "test \\"\\${{_db_set_$(_db_name "$1")+x}}\\""; then eval "RET=\\$_db_set_$(_db_name "$1")";
    else _db_value "$1"; fi; }}
_db_note() {{ printf '%s\\0' "$1" "$(($# - 1))" >>{calls}; shift; [ $# = 0 ] || printf '%s\\0' "$@" >>{calls}; RET=; }}
db_set() {{ _db_note db_set "$@"; _db_set=_db_set_$(_db_name "$1"); shift; eval "$_db_set=\\$*"; RET="value set"; }}
db_input() {{ _db_note db_input "$@"; RET="question skipped"; return 30; }}
db_subst() {{ _db_note db_subst "$@"; }}
db_fset() {{ _db_note db_fset "$@"; }}
db_register() {{ _db_note db_register "$@"; }}
db_go() {{ _db_note db_go; }}
db_fget() {{ RET=false; }}
db_metaget() {{ RET=; }}
db_exist() {{ _db_value "$1"; }}
db_version() {{ RET=2.1; }}
db_capb() {{ RET=multiselect; }}
for _db_call in reset title settitle info progress stop purge unregister beginblock endblock \\
    previous_module visible clear data x_loadtemplatefile x_setlock; do
    eval "db_$_db_call() {{ RET=; return 0; }}"
done
DEBIAN_HAS_FRONTEND=1 DEBCONF_REDIR=1
"""


def make_debconf(answers: Mapping[str, str]) -> dict[str, Node]:
    """The clients of debconf for the shell and for Perl, by path, with these answers."""
    known = {name: value for name, value in answers.items() if UNKNOWN not in value}
    cases = "\n".join(f"{shlex.quote(name)}) RET={shlex.quote(value)};;" for name, value in sorted(known.items()))
    return {
        SHELL_CLIENT: make_file(CLIENT.format(cases=cases, calls=NOTES), origin=ORIGIN),
        PERL_CLIENT: make_file(make_perl_client(known, NOTES), origin=ORIGIN),
    }


def write_notes(place: Path, programs: Iterable[str]) -> None:
    """The commands that only make a note, of those whose names the image has."""
    for name in sorted(ALWAYS | (MODELLED & set(programs))):
        if name in NOT_PROGRAMS:
            continue
        status = "exit 1" if name in NO else STATUS.get(name, "exit 0")
        target = place / name
        target.write_text(NOTE.format(name=name, calls=NOTES, status=status))
        target.chmod(0o755)


def make_environment(package: str, script: str, arch: str) -> dict[str, str]:
    """What dpkg(1) gives a script, with our commands in front of the image's."""
    return {
        "PATH": f"{SHOWN}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PERL_HASH_SEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "DPKG_MAINTSCRIPT_PACKAGE": package,
        "DPKG_MAINTSCRIPT_NAME": script,
        "DPKG_MAINTSCRIPT_ARCH": arch,
        "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
        "DPKG_MAINTSCRIPT_DEBUG": "0",
        "DPKG_ADMINDIR": "/var/lib/dpkg",
        "DPKG_ROOT": "",
    }


def read_calls(data: bytes) -> Iterator[list[str]]:
    """How commands were called, from what they wrote down. What is no call ends it: a script can write there too."""
    words = iter(data.decode(errors="replace").split("\0"))
    for name in words:
        count = next(words, "")
        if name not in MODELLED | ALWAYS | ASKED or not count.isdigit() or int(count) > 1000:
            return
        yield [name, *(next(words, "") for _ in range(int(count)))]
