"""Log in to a machine that was started with 'run --detach' or 'make demo KEEP=1', or list and stop such machines.

build-os ssh                      the only machine that runs
build-os ssh core@demo -- uptime
build-os ssh --list
build-os ssh --stop demo
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from pathlib import Path

from builder.core.console import Console

HELP = "log in to a running machine"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("target", nargs="?", metavar="[USER@]NAME", help="default: the only machine that runs")
    parser.add_argument(
        "remote", nargs="*", metavar="COMMAND", help="run this instead of a shell; name the machine before it"
    )
    parser.add_argument("-i", "--identity", type=Path, help="private key (default: the one made for the machine)")
    parser.add_argument("--list", action="store_true", help="list running machines")
    parser.add_argument("--stop", action="store_true", help="power the machine off")


def run(args: argparse.Namespace, console: Console) -> int:
    """Log in; the status is ssh's."""
    from builder.cli.machines import registry, show_list, stop
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.ssh import argv, pasteable

    machines = registry(Store.open())
    if args.list:
        return show_list(machines)
    user, _, name = (args.target or "").rpartition("@")
    record = machines.find(name or None)
    if args.stop:
        return stop(machines, record.name, console)
    target = record.ssh(user or None, args.identity)
    console.log(shlex.join(pasteable(target)))
    tools = Tools(tools_of(record.folder), console)
    # A terminal of the user's own: nothing is captured, and Ctrl-C belongs to the remote side.
    return subprocess.run(
        tools.argv(*argv(target, args.remote)), env=terminal_environment(tools), check=False
    ).returncode


def tools_of(folder: Path) -> Path:
    """The tools tree that a machine was started with."""
    return Path((folder / "tools").read_text(encoding="utf-8"))


def terminal_environment(tools: object) -> dict[str, str]:
    """The tools' environment with the user's terminal and ssh agent."""
    import os

    from builder.core.tools import Tools

    assert isinstance(tools, Tools)
    passed = ("TERM", "SSH_AUTH_SOCK", "HOME")
    return tools.env({name: os.environ[name] for name in passed if name in os.environ})
