"""What is said of updates: by the image's definition, and over that by the machine's own file.

``/usr/lib/build-os/updates.json`` is written by the build. ``/etc/os-update.json`` is the machine's, which a first-boot
config writes: it may have what :data:`OF_A_MACHINE` lists, and has no say in who is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import (
    CHANNEL,
    GROUP,
    GROUP_PATTERN,
    PLACE_WORDS,
    SETTINGS_FILE,
    URL_WORDS,
    is_for_development,
    is_place,
    is_server,
)
from update.agent.host import Host
from update.documents import is_channel_name
from update.errors import UpdateError
from update.versions import is_version

ROOT = "/usr/share/build-os/updates/root.json"
SETTINGS = "/usr/lib/build-os/updates.json"
OF_A_MACHINE = ("url", "channel", "rate", "window", "fleet_lock", "pin", "enabled")
TRIES = 3
_GROUP = re.compile(GROUP_PATTERN)
T = TypeVar("T")


class FleetLock(NamedTuple):
    """Who is asked before the machine reboots by itself: a server, and the group that this machine is in."""

    url: str
    group: str = GROUP


class Settings(NamedTuple):
    """The definition's ``updates``, with what the machine says itself.

    Attributes:
        arch: what the image was built for, by Debian's name.
        tries: how often a version is started before the one before it gets its turn.
        url: where versions are published; empty where they are brought by hand.
        channel: which of them are taken.
        rate: bytes a second that a download may take, 0 for any.
        window: when the machine may reboot by itself, as :mod:`update.agent.window` reads it; ``None`` for always.
        fleet_lock: the lock that it asks for before it does; ``None`` for none.
        pin: the only version that the machine's own file lets it take, or ``None``.
        enabled: whether it takes versions by itself.
    """

    arch: str
    tries: int = TRIES
    url: str = ""
    channel: str = CHANNEL
    rate: int = 0
    window: Mapping[str, Any] | None = None
    fleet_lock: FleetLock | None = None
    pin: str | None = None
    enabled: bool = True


def read_arch(host: Host) -> str:
    """What the image was built for. A machine's own file has no say in it, so that a mistake there stops no start.

    Raises:
        UpdateError: the image's file cannot be read.
    """
    return _take(_read(host, SETTINGS), "arch", "", SETTINGS)


def read_migrations(host: Host) -> tuple[str, ...]:
    """The units that change the form of the state, which the image has.

    Raises:
        UpdateError: the image's file cannot be read.
    """
    return tuple(_take(_read(host, SETTINGS), "migrations", [], SETTINGS))


def has_development_keys(host: Host) -> bool:
    """Whether the image trusts keys that were made to try things out."""
    try:
        return is_for_development(host.locate(ROOT).read_bytes())
    except OSError:
        return False


def read_settings(host: Host) -> Settings:
    """The image's, with the machine's over them.

    Raises:
        UpdateError: one of the files cannot be read, or says something that makes no sense.
    """
    data = _read(host, SETTINGS)
    if host.locate(SETTINGS_FILE).exists():
        own = _read(host, SETTINGS_FILE)
        for key in own:
            if key not in OF_A_MACHINE:
                raise UpdateError(f"{SETTINGS_FILE}: '{key}' is none of its keys, which are {', '.join(OF_A_MACHINE)}")
        if isinstance(own.get("fleet_lock"), dict) and isinstance(data.get("fleet_lock"), dict):
            # A machine may say its group alone.
            own["fleet_lock"] = {**data["fleet_lock"], **own["fleet_lock"]}
        data = {**data, **own}
    where = f"{SETTINGS_FILE} or {SETTINGS}"
    channel = _take(data, "channel", CHANNEL, where)
    if not is_channel_name(channel):
        raise UpdateError(f"{where}: channel: '{channel}' cannot be the name of a channel")
    rate = _take(data, "rate", 0, where)
    if rate < 0:
        raise UpdateError(f"{where}: rate: it is a number of bytes a second, and 0 for any")
    pin = _take(data, "pin", "", where)
    if pin and not is_version(pin):
        raise UpdateError(f"{where}: pin: '{pin}' is not a version")
    return Settings(
        _take(data, "arch", "", where),
        _take(data, "tries", TRIES, where),
        _take_place(data, where),
        channel,
        rate,
        data.get("window"),
        _take_lock(data.get("fleet_lock"), f"{where}: fleet_lock"),
        pin or None,
        _take(data, "enabled", True, where),
    )


def _take_lock(data: Any, where: str) -> FleetLock | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise UpdateError(f"{where}: {data!r} is not what is expected there")
    lock = FleetLock(_take_url(data, where), _take(data, "group", GROUP, where))
    if not lock.url:
        raise UpdateError(f"{where}: url: nothing says where the server is")
    if not _GROUP.fullmatch(lock.group):
        raise UpdateError(f"{where}: group: '{lock.group}' is not letters, digits, '.' and '-'")
    return lock


def _take_url(data: Mapping[str, Any], where: str) -> str:
    url = _take(data, "url", "", where)
    if url and not is_server(url):
        raise UpdateError(f"{where}: url: '{url}': {URL_WORDS}")
    return url


def _take_place(data: Mapping[str, Any], where: str) -> str:
    url = _take(data, "url", "", where)
    if url and not is_place(url):
        raise UpdateError(f"{where}: url: '{url}': {PLACE_WORDS}")
    return url


def _read(host: Host, path: str) -> dict[str, Any]:
    try:
        data = json.loads(host.locate(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpdateError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise UpdateError(f"{path} is no object of JSON")
    return data


def _take(data: Mapping[str, Any], key: str, default: T, where: str) -> T:
    value = data.get(key, default)
    if type(value) is not type(default):
        raise UpdateError(f"{where}: {key}: {value!r} is not what is expected there")
    return value
