"""A lock that machines of a fleet share, so that only so many of them reboot at once.

The protocol is FleetLock, as Zincati and airlock speak it
(https://coreos.github.io/zincati/development/fleetlock/protocol/). A server that does not answer gives no lock: the
machine waits. What is held is noted before it is asked for, so that a lock whose answer got lost is given back as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import FLEET_LOCK_HEADER
from update.agent.host import Host
from update.agent.settings import FleetLock
from update.agent.state import DIRECTORY, write_file
from update.errors import UpdateError

if TYPE_CHECKING:
    import requests
else:
    # 'os-update status' does without it.
    requests = import_lazily("requests")

NOTE = f"{DIRECTORY}/fleet-lock.json"
CONNECT_SECONDS, READ_SECONDS = 30, 30
_MAX_ANSWER = 64 << 10  # bytes
_MAX_WORDS = 200
# A machine's ID is its own business (machine-id(5)): the server gets one that is derived from it for this purpose.
_APPLICATION = UUID("5bfb2e5c-0fd9-4f52-8a36-0dc4ce9ae0b2").bytes


class Held(NamedTuple):
    """A lock that this machine has, or may have."""

    url: str
    group: str
    id: str


def derive_id(machine_id: str) -> str:
    """What the server knows a machine by, as ``systemd-id128 machine-id --app-specific=`` has it.

    Raises:
        UpdateError: the machine has no ID.
    """
    try:
        key = bytes.fromhex(machine_id)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise UpdateError("the machine has no machine-id, and a lock needs an owner")
    digest = bytearray(hmac.digest(key, _APPLICATION, hashlib.sha256)[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x40, digest[8] & 0x3F | 0x80
    return digest.hex()


def read_held(host: Host) -> Held | None:
    """The lock that is to be given back, or ``None``.

    Raises:
        UpdateError: what was noted cannot be read.
    """
    try:
        return Held(**json.loads(host.locate(NOTE).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UpdateError(
            f"{NOTE} cannot be read: {error}; remove it once the server has no lock of this machine"
        ) from None


def claim_lock(host: Host, lock: FleetLock) -> str:
    """Ask for the right to reboot. Who has it already gets it again.

    Returns:
        Why it was not given, or an empty text.

    Raises:
        UpdateError: there is no machine-id, or what is held cannot be noted.
    """
    held = Held(lock.url, lock.group, derive_id(host.read_machine_id()))
    before = read_held(host)
    if before is not None and before != held:
        # Whether or not that one answers: it may be gone for good, and its owner can free the lock by hand.
        release_lock(host)
    write_file(host.locate(NOTE), json.dumps(held._asdict()).encode() + b"\n")
    granted, reason = _ask(held, "pre-reboot")
    if granted is False:
        # The server has said no; where it has said nothing, it may have written the lock down.
        host.locate(NOTE).unlink()
    return reason


def release_lock(host: Host) -> str:
    """Give back what is held, if anything is.

    Returns:
        Why it could not be given back, or an empty text.

    Raises:
        UpdateError: what is held is not known.
    """
    held = read_held(host)
    if held is None:
        return ""
    granted, reason = _ask(held, "steady-state")
    if granted:
        host.locate(NOTE).unlink()
    return reason


def _ask(held: Held, what: str) -> tuple[bool | None, str]:
    """Whether the server says yes, no or (``None``) nothing that can be understood; and why it is no yes."""
    body = {"client_params": {"id": held.id, "group": held.group}}
    url = f"{held.url.rstrip('/')}/v1/{what}"
    try:
        with requests.post(
            url,
            json=body,
            headers={FLEET_LOCK_HEADER: "true", "User-Agent": "os-update"},
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as answer:
            if answer.status_code == requests.codes.ok:
                return True, ""
            # Not raw.read(), whose errors are of another library and no RequestException.
            said = next(answer.iter_content(_MAX_ANSWER), b"")[:_MAX_ANSWER]
    except (requests.RequestException, OSError) as error:
        return None, f"the lock's server {held.url} does not answer ({_describe(error)})"
    reason = f"the lock's server {held.url} says no: {_parse_reason(said) or f'HTTP {answer.status_code}'}"
    return (False if answer.status_code < requests.codes.server_error else None), reason


def _parse_reason(said: bytes) -> str:
    """The words of an answer, as the protocol has them: ``kind`` and ``value``."""
    try:
        data: Any = json.loads(said)
    except ValueError:
        return ""
    value = data.get("value") if isinstance(data, dict) else None
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:_MAX_WORDS])


def _describe(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be verified"
    return "it cannot be reached, or has ended the connection"
