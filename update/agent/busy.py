"""Who would mind if the machine rebooted now."""

from __future__ import annotations

import json
from typing import Any

from update.agent.host import Host
from update.errors import UpdateError

_LIST_INHIBITORS = (
    *("busctl", "--json=short", "call", "org.freedesktop.login1", "/org/freedesktop/login1"),
    *("org.freedesktop.login1.Manager", "ListInhibitors"),
)


def find_objection(host: Host) -> str:
    """Who is logged in, or holds a lock against a shutdown (systemd-inhibit(1)); empty where nobody does.

    Raises:
        UpdateError: systemd-logind does not answer.
    """
    for session in _read(host.run(["loginctl", "list-sessions", "--json=short"], timeout=30)):
        # Managers of users are sessions as well, and go on for a while when a user has logged out.
        if session.get("class") in ("user", "user-early", "user-light"):
            return f"{session.get('user')} is logged in"
    for what, who, why, mode, *_ in _read(host.run([*_LIST_INHIBITORS], timeout=30))["data"][0]:
        if mode == "block" and "shutdown" in what.split(":"):
            return f"{who} holds an inhibitor lock ({why})"
    return ""


def _read(text: str) -> Any:
    try:
        return json.loads(text or "[]")
    except ValueError:
        raise UpdateError("systemd-logind says something that is not JSON") from None
