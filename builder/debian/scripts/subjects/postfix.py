"""Postfix's own configuration tool, and the index of its aliases.

Sources: postconf(1), newaliases(1), postconf(5) for what holds where nothing is set.
"""

from __future__ import annotations

import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled

MAIN = "/etc/postfix/main.cf"
_DEFAULTS = {
    "alias_database": "hash:/etc/aliases", "cyrus_sasl_config_path": "", "default_transport": "smtp",
    "html_directory": "no", "multi_instance_directories": "", "multi_instance_name": "", "mynetworks": "",
    "readme_directory": "no", "queue_directory": "/var/spool/postfix", "config_directory": "/etc/postfix",
    "daemon_directory": "/usr/lib/postfix/sbin", "data_directory": "/var/lib/postfix",
}  # fmt: skip
# A setting and the lines that continue it.
_SETTING = r"^{name}[ \t]*=[ \t]*((?:.*)(?:\n[ \t]+\S.*)*)\n"


def postconf(shell: Shell, arguments: list[str]) -> Status:
    """``postconf -e name=value``, ``-# name``, ``-h name``: main.cf changed or looked into.

    A value that only a running machine knows is left out: where nothing is set, Postfix asks the machine itself.
    """
    options = read_options("postconf", arguments, "e # h x X", "c")
    text = shell.system.read(MAIN) or ""
    if "h" in options:
        for name in options.operands:
            own = re.search(_SETTING.format(name=re.escape(name)), text, re.M)
            if own is None and name not in _DEFAULTS:
                raise NotModelled(f"postconf -h {name}")
            shell.say((own[1] if own is not None else _DEFAULTS[name]) + "\n")
        return 0
    if not {"e", "#", "X"} & options.given.keys() and not all("=" in word for word in options.operands):
        raise NotModelled("postconf")
    for word in options.operands:
        name, _, value = (part.strip() for part in word.partition("="))
        if UNKNOWN in name:
            raise NotModelled("postconf of what is only known on a running machine")
        if UNKNOWN in value:
            shell.system.record(EffectKind.DROPPED, f"postconf {name}", "where it is not set, Postfix asks the machine")
            continue
        setting = re.compile(_SETTING.format(name=re.escape(name)), re.M)
        if "X" in options:
            text = setting.sub("", text)
        elif "#" in options:
            text = setting.sub(lambda match: re.sub("^", "#", match[0].rstrip("\n"), flags=re.M) + "\n", text)
        elif setting.search(text):
            text = setting.sub(lambda _, line=f"{name} = {value}\n": line, text)  # type: ignore[misc]  # mypy cannot type the default argument
        else:
            text = text + ("" if not text or text.endswith("\n") else "\n") + f"{name} = {value}\n"
    shell.system.write(MAIN, text)
    return 0


def newaliases(shell: Shell, arguments: list[str]) -> Status:
    """``newaliases``: an index in the format of a library, which the machine makes before the mail server starts."""
    shell.system.leave_to_machine("newaliases", "/etc/aliases.db")
    return shell.call(["chmod", "0644", "/etc/aliases.db"])


COMMANDS = make_models({"postconf": postconf, "newaliases": newaliases}, accept_unknown=("postconf",))
