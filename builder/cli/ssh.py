"""Log in to a machine that was started with 'run --detach', 'machine start' or 'make demo KEEP=1'.

build-os ssh                      the only machine that runs
build-os ssh -- uptime            a command there
build-os ssh core@demo -- uptime
build-os ssh --root               as root, on a machine that this computer has made
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.core.console import Console

HELP = "log in to a running machine"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[USER@]NAME [--] COMMAND",
        help="the machine (default: the only one that runs), and a command instead of a shell",
    )
    parser.add_argument("-i", "--identity", type=Path, help="private key (default: the one made for the machine)")
    parser.add_argument("--root", action="store_true", help="as root")
    parser.add_argument("--list", action="store_true", help="as 'build-os machine list'")
    parser.add_argument("--stop", action="store_true", help="as 'build-os machine stop'")


def run(args: argparse.Namespace, console: Console) -> int:
    """Log in; the status is ssh's."""
    from builder.cli.login import ROOT
    from builder.cli.machines import open_kept_machines, open_registry, show_list, stop
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.registry.ssh import make_argv, quote_command

    machines = open_registry(Store.open())
    if args.list:
        return show_list(machines, open_kept_machines())
    target, command = split_target(args.words, args.typed)
    user, _, name = target.rpartition("@")
    if args.stop:
        return stop(machines, name or None, console)
    if args.root and user not in ("", ROOT):
        raise InputError(f"as {user} or as root?", hint="leave out one of them")
    record = machines.find(name or None, open_kept_machines().list_names())
    way = record.find_ssh_target(ROOT if args.root else user or None, args.identity)
    if way.user == ROOT and record.key is None and args.identity is None:
        raise InputError(
            f"{record.name} has no key for root: it was started with --no-login, or by a test",
            hint="-i FILE names one that its config lets in as root",
        )
    console.log(shlex.join(quote_command(way)))
    tools = Tools(find_tools(record.folder), console)
    # A terminal of the user's own: nothing is captured, and Ctrl-C belongs to the remote side.
    return subprocess.run(
        tools.make_argv(*make_argv(way, command)), env=read_terminal_environment(tools), check=False
    ).returncode


def split_target(words: Sequence[str], typed: Sequence[str]) -> tuple[str, list[str]]:
    """Which of the words are the command: what comes after ``--``, else after the first.

    Args:
        words: those that are no options, as argparse has found them, without the ``--``.
        typed: the whole command line.
    """
    after = list(typed[typed.index("--") + 1 :]) if "--" in typed else []
    before = list(words[: len(words) - len(after)])
    return (before[0] if before else ""), [*before[1:], *after]


def find_tools(folder: Path) -> Path:
    """The tools tree that a machine was started with."""
    return Path((folder / "tools").read_text(encoding="utf-8"))


def read_terminal_environment(tools: object) -> dict[str, str]:
    """The tools' environment with the user's terminal and ssh agent."""
    import os

    from builder.core.tools import Tools

    assert isinstance(tools, Tools)
    passed = ("TERM", "SSH_AUTH_SOCK", "HOME")
    return tools.make_environment({name: os.environ[name] for name in passed if name in os.environ})
