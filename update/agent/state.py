"""What the agent remembers over reboots, in ``/var/lib/update/state.json``; written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firstboot.config.named_tuple import NamedTuple
from update.agent.host import Host, sync_directory
from update.errors import UpdateError

DIRECTORY = "/var/lib/update"
STATE = f"{DIRECTORY}/state.json"
FORMAT = 1
MAX_HISTORY = 200
MAX_FAILED = 50


class Pending(NamedTuple):
    """A version that has been written and has not proven itself yet.

    Attributes:
        version: what is on trial.
        source: the version that wrote it, and that is gone back to.
        written: seconds since 1970.
        boots: the boot IDs of its trials that got as far as the agent.
        reason: why its last trial ended, if it could say.
    """

    version: str
    source: str
    written: int
    boots: tuple[str, ...] = ()
    reason: str = ""


class Failure(NamedTuple):
    """A version that is not tried again. ``when`` in seconds since 1970."""

    reason: str
    when: int


class Event(NamedTuple):
    """A line of the history: what happened to a version. ``when`` in seconds since 1970."""

    when: int
    what: str
    version: str
    source: str = ""
    reason: str = ""


class State(NamedTuple):
    """All of it.

    Attributes:
        failed: versions that are skipped, by version.
        pin: the only version that this machine may go to, or ``None``.
        checked: when the repository was last asked successfully, in seconds since 1970.
        available: the version that it offered then, or an empty text.
    """

    pending: Pending | None = None
    failed: Mapping[str, Failure] = {}
    pin: str | None = None
    history: tuple[Event, ...] = ()
    checked: int = 0
    available: str = ""

    def find_waiting(self, running: str) -> str | None:
        """The version that is written and waits for its start, on a machine that runs this one."""
        return None if self.pending is None or self.pending.version == running else self.pending.version

    def add_event(self, event: Event) -> State:
        """The state with one more line of history; the oldest lines go."""
        return self._replace(history=(*self.history, event)[-MAX_HISTORY:])

    def add_failure(self, version: str, failure: Failure) -> State:
        """The state with one more version that is skipped."""
        failed = {**{key: value for key, value in self.failed.items() if key != version}, version: failure}
        return self._replace(failed=dict(list(failed.items())[-MAX_FAILED:]))


def read_state(host: Host) -> State:
    """What is remembered; nothing on a machine that has never updated itself.

    Raises:
        UpdateError: the file cannot be read, or is none of ours.
    """
    path = host.locate(STATE)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError) as error:
        raise UpdateError(f"{STATE} cannot be read: {error}") from None
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        return _parse(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UpdateError(f"{STATE} is not what this version writes: {error!r}; remove it to begin anew") from None


def _parse(data: Mapping[str, Any]) -> State:
    pending = data["pending"]
    return State(
        pending=None if pending is None else Pending(**{**pending, "boots": tuple(pending["boots"])}),
        failed={version: Failure(**entry) for version, entry in data["failed"].items()},
        pin=data["pin"],
        history=tuple(Event(**entry) for entry in data["history"]),
        checked=data["checked"],
        available=data["available"],
    )


def format_state(state: State) -> dict[str, Any]:
    """The state for programs, and for the file."""
    return {
        "format": FORMAT,
        "pending": None if state.pending is None else state.pending._asdict(),
        "failed": {version: entry._asdict() for version, entry in state.failed.items()},
        "pin": state.pin,
        "history": [entry._asdict() for entry in state.history],
        "checked": state.checked,
        "available": state.available,
    }


def write_state(host: Host, state: State) -> None:
    """Remember it, so that it survives a power cut.

    Raises:
        UpdateError: it cannot be written.
    """
    write_file(host.locate(STATE), (json.dumps(format_state(state), indent=1) + "\n").encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there, whenever the power goes.

    Raises:
        UpdateError: it cannot be written.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise UpdateError(f"{path} cannot be written: {error.strerror}") from None
