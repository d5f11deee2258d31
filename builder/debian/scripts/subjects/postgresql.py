"""postgresql-common's programs in Perl, by what they do in a system that has no cluster yet.

Sources: pg_createcluster(1), pg_lsclusters(1), pg_updatedicts(8), pg_conftool(1); pam_getenv(1).
"""

from __future__ import annotations

import re
import shlex

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NotModelled

CLUSTERS, DATA, LOGS = "/etc/postgresql", "/var/lib/postgresql", "/var/log/postgresql"
DICTIONARIES = ("/usr/share/hunspell", "/usr/share/myspell/dicts")


def pg_createcluster(shell: Shell, arguments: list[str]) -> Status:
    """``pg_createcluster [option ...] version name``: databases with an identity, so each machine makes its own."""
    options = read_options("pg_createcluster", arguments, "start no-status", "u user g group d p l locale e start-conf")
    if len(options.operands) != 2:
        raise NotModelled("pg_createcluster")
    version, name = options.operands
    unit = f"postgresql@{version}-{name}.service"
    command = [
        shlex.join(["pg_createcluster", *arguments]),
        # The generator that wants the cluster's unit looked before there was one.
        "systemctl daemon-reload",
        f"systemctl --no-block start {unit}",
    ]
    shell.system.leave_to_machine(
        "\n    ".join(command),
        f"{CLUSTERS}/{version}/{name}/",
        f"{DATA}/{version}/{name}/",
        f"{LOGS}/*",
        units=("postgresql.service",),
    )
    return 0


def pg_lsclusters(shell: Shell, arguments: list[str]) -> Status:
    """``pg_lsclusters -h``: one line a cluster; none runs."""
    for version in shell.system.list_children(CLUSTERS):
        for name in shell.system.list_children(f"{CLUSTERS}/{version}"):
            log = f"{LOGS}/postgresql-{version}-{name}.log"
            shell.say(f"{version} {name} 5432 down postgres {DATA}/{version}/{name} {log}\n")
    return 0


def pg_updatedicts(shell: Shell, arguments: list[str]) -> Status:
    """``pg_updatedicts`` where there is no dictionary: the directory for them."""
    for place in DICTIONARIES:
        if any(name.endswith(".aff") for name in shell.system.list_children(place)):
            raise NotModelled("pg_updatedicts with dictionaries of hunspell")
    shell.system.make_directory("/var/cache/postgresql/dicts")
    return 0


def pg_conftool(shell: Shell, arguments: list[str]) -> Status:
    """``pg_conftool [-b] [-s] file show name``."""
    words = [word for word in arguments if not word.startswith("-")]
    if len(words) != 3 or words[1] != "show":
        raise NotModelled("pg_conftool")
    text = shell.system.read(shell.resolve_path(words[0])) or ""
    setting = re.search(rf"^\s*{re.escape(words[2])}\s*=?\s*'?([^'#\s]*)", text, re.M)
    if setting is None:
        return 1
    shell.say(setting[1] + "\n")
    return 0


def pg_checksystem(shell: Shell, arguments: list[str]) -> Status:
    """``pg_checksystem``: warns about disks that are too small, and about nothing else."""
    return 0


def pam_getenv(shell: Shell, arguments: list[str]) -> Status:
    """``pam_getenv -l name``: from /etc/environment and /etc/default/locale."""
    names = [word for word in arguments if not word.startswith("-")]
    for path in ("/etc/environment", "/etc/default/locale"):
        variable = re.search(rf"^\s*{re.escape(names[0])}=[\"']?([^\"'\n]*)", shell.system.read(path) or "", re.M)
        if variable is not None:
            shell.say(variable[1] + "\n")
            return 0
    return 1


COMMANDS = make_models({
    "pg_createcluster": pg_createcluster, "pg_lsclusters": pg_lsclusters, "pg_updatedicts": pg_updatedicts,
    "pg_conftool": pg_conftool, "pg_checksystem": pg_checksystem, "pam_getenv": pam_getenv,
})  # fmt: skip
