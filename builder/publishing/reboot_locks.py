"""Who may reboot: a number of locks for each group of machines, by the protocol FleetLock.

https://coreos.github.io/zincati/development/fleetlock/protocol/; what airlock is for Zincati. A lock has no end: a
machine that never comes back keeps it, so that a version that breaks machines breaks no more of them than there are
locks. A person frees it.
"""

from __future__ import annotations

import base64
import fcntl
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import requests

from builder.core.errors import CapabilityError, InputError, SourceError
from builder.core.files import write_file
from builder.core.urls import redact_url
from firstboot.config.update_words import GROUP_PATTERN

FORMAT = 1
KEYS = "build-os/fleet-lock/"  # in etcd, one for each group
SECONDS = 5.0  # that etcd may take for an answer
ATTEMPTS = 20  # at a change that others get in the way of
_GROUP = re.compile(GROUP_PATTERN)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Holders = dict[str, int]
"""Who holds locks of a group: a machine's ID, and since when in seconds since 1970; the longest first."""


class Refused(Exception):
    """A request is not granted: the protocol's ``kind`` and ``value``, and the HTTP status that says so."""

    def __init__(self, status: int, kind: str, value: str) -> None:
        super().__init__(value)
        self.status = status
        self.kind = kind


class Book(Protocol):
    """Where it is written down, so that it survives the server, and several may serve."""

    def read(self) -> dict[str, Holders]:
        """Who holds locks of which group."""

    def change(self, group: str, edit: Callable[[Holders], Holders]) -> None:
        """Replace what is written of a group by what ``edit`` makes of it; nobody else changes it meanwhile."""


@dataclass(frozen=True)
class FileBook:
    """A file, for servers on one machine."""

    path: Path

    def read(self) -> dict[str, Holders]:
        """Who holds locks of which group.

        Raises:
            InputError: the file cannot be read, or is none of ours.
        """
        try:
            data = json.loads(self.path.read_bytes())
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}")
            return {group: _parse_holders(entry) for group, entry in data["groups"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path} is no file of locks: {error}") from None

    def change(self, group: str, edit: Callable[[Holders], Holders]) -> None:
        """Under a lock, and written whole or not at all.

        Raises:
            InputError: the file is none of ours.
        """
        with self._hold():
            groups = self.read()
            before = groups.get(group, {})
            after = edit(dict(before))
            if after != before:
                data = {"format": FORMAT, "groups": {**groups, group: after}}
                write_file(self.path, json.dumps(data, indent=1) + "\n", durable=True)

    @contextmanager
    def _hold(self) -> Iterator[None]:
        with self.path.with_name(f".{self.path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True)
class EtcdBook:
    """Keys of etcd, by the JSON gateway of its API v3: for servers on several machines.

    Attributes:
        url: ``http://`` or ``https://``, where etcd answers clients.
        authority: the file with who signed its certificate, or ``None`` for whom the machine trusts.
        certificate: the file with the certificate that etcd is shown, and that with its key; ``None`` for none.
    """

    url: str
    authority: Path | None = None
    certificate: tuple[Path, Path] | None = None

    def read(self) -> dict[str, Holders]:
        """Who holds locks of which group.

        Raises:
            SourceError: etcd does not answer, or what it has is none of ours.
        """
        # All keys that begin with ours: up to the one that begins with what comes after our last character.
        end = KEYS[:-1] + chr(ord(KEYS[-1]) + 1)
        values = self._list_values({"key": _encode(KEYS), "range_end": _encode(end)})
        return {key.removeprefix(KEYS): holders for key, holders, _ in values}

    def change(self, group: str, edit: Callable[[Holders], Holders]) -> None:
        """Read, then written only if nobody has written since.

        Raises:
            SourceError: etcd does not answer, what it has is none of ours, or others are always quicker.
        """
        for _ in range(ATTEMPTS):
            key = _encode(KEYS + group)
            _, before, revision = next(iter(self._list_values({"key": key})), (key, {}, "0"))
            after = edit(dict(before))
            if after == before:
                return
            answer = self._post(
                "txn",
                {
                    "compare": [{"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}],
                    "success": [{"request_put": {"key": key, "value": _encode(json.dumps(after))}}],
                },
            )
            if answer.get("succeeded") is True:
                return
        raise SourceError(f"etcd at {redact_url(self.url)} was written by others {ATTEMPTS} times in a row")

    def _list_values(self, asked: Mapping[str, str]) -> list[tuple[str, Holders, str]]:
        """Keys, who holds locks by them, and the revision of each."""
        values = self._post("range", asked).get("kvs", [])
        try:
            return [
                (
                    base64.b64decode(value["key"]).decode(),
                    _parse_holders(json.loads(base64.b64decode(value["value"]))),
                    str(value["mod_revision"]),
                )
                for value in values
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"etcd has something else below {KEYS}: {error}") from None

    def _post(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        shown = redact_url(self.url)
        try:
            answer = requests.post(
                f"{self.url.rstrip('/')}/v3/kv/{what}",
                json=body,
                timeout=SECONDS,
                verify=True if self.authority is None else str(self.authority),
                cert=None if self.certificate is None else (str(self.certificate[0]), str(self.certificate[1])),
            )
            data = answer.json()
        except (requests.RequestException, OSError, ValueError) as error:
            raise SourceError(f"etcd at {shown} does not answer: {type(error).__name__}") from None
        if answer.status_code != requests.codes.ok or not isinstance(data, dict):
            said = data.get("message", "") if isinstance(data, dict) else ""
            raise SourceError(f"etcd at {shown} says HTTP {answer.status_code} {said}".rstrip())
        return data


@dataclass(frozen=True)
class RebootLocks:
    """The locks of a fleet.

    Attributes:
        book: where it is written down who holds them.
        slots: how many each group has.
    """

    book: Book
    slots: Mapping[str, int]

    def claim(self, group: str, machine: str, now: int) -> None:
        """Give a machine a lock; it may ask as often as it wants.

        Raises:
            Refused: all are held by others, or there is no such group.
        """
        slots = self._require_slots(group, machine)

        def edit(holders: Holders) -> Holders:
            if machine in holders:
                return holders
            if len(holders) >= slots:
                raise Refused(409, "failed_lock", f"all {slots} locks of the group {group} are held by others")
            return {**holders, machine: now}

        self.book.change(group, edit)

    def release(self, group: str, machine: str) -> bool:
        """Take it back, if the machine has it.

        Returns:
            Whether it did.

        Raises:
            Refused: this is no ID of a machine.
        """
        _require_id(machine)
        return release_lock(self.book, group, machine)

    def _require_slots(self, group: str, machine: str) -> int:
        _require_id(machine)
        if group not in self.slots:
            raise Refused(400, "unknown_group", f"there is no such group; there are {', '.join(sorted(self.slots))}")
        return self.slots[group]


def _require_id(machine: str) -> None:
    if not _ID.fullmatch(machine):
        raise Refused(400, "bad_request", "the machine's id is not letters, digits, '.', '_', ':' and '-'")


def release_lock(book: Book, group: str, machine: str) -> bool:
    """Take a lock from a machine, whatever it says about that.

    Returns:
        Whether it had one.
    """
    had = False

    def edit(holders: Holders) -> Holders:
        nonlocal had
        had = machine in holders
        return {name: since for name, since in holders.items() if name != machine}

    book.change(group, edit)
    return had


def parse_group(text: str) -> tuple[str, int]:
    """A group and its number of locks, of ``web=2``.

    Raises:
        InputError: it is not that.
    """
    name, equals, number = text.partition("=")
    if not _GROUP.fullmatch(name) or not equals or not number.isdecimal() or not 0 < int(number) < 10_000:
        raise InputError(f"'{text}' is no group and its number of locks", hint="write it like default=1")
    return name, int(number)


def check_directory(path: Path) -> None:
    """Whether a file of locks can be written there.

    Raises:
        CapabilityError: there is no such directory.
    """
    if not path.parent.is_dir():
        raise CapabilityError(f"{path.parent} is no directory", hint="make it; the locks are kept in a file there")


def _parse_holders(data: Any) -> Holders:
    if not isinstance(data, dict) or not all(type(since) is int for since in data.values()):
        raise ValueError("it does not say who holds what since when")
    return data


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
