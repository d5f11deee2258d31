"""What is said of updates: by the image's definition, and over that by the machine's own file.

``/usr/lib/build-os/updates.json`` is written by the build. ``/etc/os-update.json`` is the machine's: it may have
``url``, ``channel``, ``rate`` and ``window``, and has no say in who is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from firstboot.config.named_tuple import NamedTuple
from update.agent.host import Host
from update.documents import is_channel_name
from update.errors import UpdateError

ROOT = "/usr/share/build-os/updates/root.json"
SETTINGS = "/usr/lib/build-os/updates.json"
MACHINE = "/etc/os-update.json"
OF_A_MACHINE = ("url", "channel", "rate", "window")
TRIES = 3
CHANNEL = "stable"
T = TypeVar("T")


class Settings(NamedTuple):
    """The definition's ``updates``, with what the machine says itself.

    Attributes:
        arch: what the image was built for, by Debian's name.
        tries: how often a version is started before the one before it gets its turn.
        url: where versions are published; empty where they are brought by hand.
        channel: which of them are taken.
        rate: bytes a second that a download may take, 0 for any.
        window: when the machine may reboot by itself, as :mod:`update.agent.window` reads it; ``None`` for always.
    """

    arch: str
    tries: int = TRIES
    url: str = ""
    channel: str = CHANNEL
    rate: int = 0
    window: Mapping[str, Any] | None = None


def read_settings(host: Host) -> Settings:
    """The image's, with the machine's over them.

    Raises:
        UpdateError: one of the files cannot be read, or says something that makes no sense.
    """
    data = _read(host, SETTINGS)
    if host.locate(MACHINE).exists():
        own = _read(host, MACHINE)
        for key in own:
            if key not in OF_A_MACHINE:
                raise UpdateError(f"{MACHINE}: '{key}' is none of its keys, which are {', '.join(OF_A_MACHINE)}")
        data = {**data, **own}
    where = f"{MACHINE} or {SETTINGS}"
    url, channel = _take(data, "url", "", where), _take(data, "channel", CHANNEL, where)
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise UpdateError(f"{where}: url: '{url}' is no URL that starts with http:// or https://")
    if not is_channel_name(channel):
        raise UpdateError(f"{where}: channel: '{channel}' cannot be the name of a channel")
    rate = _take(data, "rate", 0, where)
    if rate < 0:
        raise UpdateError(f"{where}: rate: it is a number of bytes a second, and 0 for any")
    window = data.get("window")
    return Settings(_take(data, "arch", "", where), _take(data, "tries", TRIES, where), url, channel, rate, window)


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
    if not isinstance(value, type(default)) or isinstance(value, bool):
        raise UpdateError(f"{where}: {key}: {value!r} is not what is expected there")
    return value
