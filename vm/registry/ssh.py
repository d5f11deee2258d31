"""The command line of ssh into a machine; runs through :class:`builder.core.tools.Tools` like everything else."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "ssh"


@dataclass(frozen=True)
class SshTarget:
    """Where and as whom to log in.

    Attributes:
        key: a private key file; without one, the agent's keys are tried.
        control: the socket of a connection that is there already (:func:`make_connection_argv`); where nobody listens
            at it, ssh logs in anew.
    """

    port: int
    user: str
    key: Path | None = None
    host: str = "127.0.0.1"
    control: Path | None = None


def make_argv(target: SshTarget, command: Sequence[str] = ()) -> list[str]:
    """ssh(1)'s command line, program first. ``command`` is joined by the remote shell, as ssh does."""
    return [PROGRAM, *_list_options(target), "--", f"{target.user}@{target.host}", *command]


def make_connection_argv(target: SshTarget) -> list[str]:
    """The same for a connection that runs and asks nothing, and serves others at the target's ``control``
    until it is ended."""
    own = ["-M", "-N", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"]
    return [PROGRAM, *own, *_list_options(target), "--", f"{target.user}@{target.host}"]


def _list_options(target: SshTarget) -> list[str]:
    # An emulated machine on a busy host takes its time to start the program that answers.
    patience = 60 if is_loopback(target.host) else 10
    options = ["-F", "none", "-p", str(target.port), "-o", "LogLevel=ERROR", "-o", f"ConnectTimeout={patience}"]
    if is_loopback(target.host):
        # Behind a loopback port is the machine we started, with host keys that it made a minute ago. There is nobody
        # in between, and remembering a key for a port number would only raise false alarms.
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        options += ["-o", "GlobalKnownHostsFile=/dev/null"]
    if target.key is not None:
        options += ["-i", str(target.key), "-o", "IdentitiesOnly=yes"]
    if target.control is not None:
        options += ["-S", str(target.control)]
    return options


def quote_command(target: SshTarget) -> list[str]:
    """A shorter line for people to paste, for an ssh of their own."""
    key = ["-i", str(target.key)] if target.key is not None else []
    relaxed = (
        ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"] if is_loopback(target.host) else []
    )
    return [PROGRAM, *key, "-p", str(target.port), *relaxed, f"{target.user}@{target.host}"]


def is_loopback(host: str) -> bool:
    """Whether this host is ourselves, whatever a resolver may say."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
