"""The command line of ssh into a machine; runs through :class:`builder.core.tools.Tools` like everything else."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "ssh"


@dataclass(frozen=True)
class SshTarget:
    """Where and as whom to log in. ``key`` is a private key file; without one, the agent's keys are tried."""

    port: int
    user: str
    key: Path | None = None
    host: str = "127.0.0.1"


def make_argv(target: SshTarget, command: Sequence[str] = ()) -> list[str]:
    """ssh(1)'s command line, program first. ``command`` is joined by the remote shell, as ssh does."""
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
    return [PROGRAM, *options, "--", f"{target.user}@{target.host}", *command]


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
