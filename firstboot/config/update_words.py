"""What may be said about updates, whoever says it: a definition, a machine's config, or a file on the machine."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from firstboot.config.oci.reference import HOST, REPOSITORY

SETTINGS_FILE = "/etc/os-update.json"
"""What a machine itself says; :mod:`update.agent.settings` reads it over what the image says."""

CHANNEL = "stable"
CHANNEL_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
CHANNEL_WORDS = "a channel's name is lower-case letters, digits, '.', '_' and '-', like stable"

GROUP = "default"
GROUP_PATTERN = r"[a-zA-Z0-9.-]+"
"""Of machines that share a number of locks; FleetLock's own rule."""
FLEET_LOCK_HEADER = "fleet-lock-protocol"
GROUP_WORDS = "a group's name is letters, digits, '.' and '-', like default"

VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9.~^-]{0,49}"
VERSION_WORDS = "a version is letters, digits, '.', '-', '~' and '^', at most 50 of them, like 1.0.0 or 2026.1~rc1"

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOUR_PATTERN = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
HOUR_WORDS = 'a time of the day is hours and minutes, like "02:30"'
# Time zones are those of the image, which are Debian's.
ZONE_PATTERN = r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*"
ZONE_WORDS = "a time zone is one of tzdata's, like Europe/Berlin or UTC"

RATE_PATTERN = r"[1-9][0-9]{0,5}[KMG]"
RATE_WORDS = "a rate is a number of KiB, MiB or GiB a second, like 500K or 2M"
_UNITS = {"K": 10, "M": 20, "G": 30}

DEVELOPMENT = "x-build-os-development"
"""Of root.json: its keys were made to try things out. TUF lets metadata have fields of others (section 4.1)."""

URL_WORDS = "this is no URL that starts with http:// or https://"

REGISTRY_SCHEMES = {"oci": "https", "oci+http": "http"}
PLACE_WORDS = "this is no URL that starts with http:// or https://, and no oci://HOST/NAME"


def parse_rate(text: str) -> int:
    """Bytes of a text of :data:`RATE_PATTERN`."""
    return int(text[:-1]) << _UNITS[text[-1]]


def is_for_development(root: bytes) -> bool:
    """Whether a ``root.json`` is of keys that were made to try things out."""
    try:
        return bool(json.loads(root)["signed"].get(DEVELOPMENT) is True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def is_server(url: str) -> bool:
    """Whether a URL can be that of a repository, or of a server of locks."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def find_registry(url: str) -> tuple[str, str, str] | None:
    """Of ``oci://HOST/NAME``, a repository of a registry: how it is spoken to (``https``), host and name."""
    scheme, _, rest = url.partition("://")
    host, _, name = rest.partition("/")
    if scheme not in REGISTRY_SCHEMES or not re.fullmatch(HOST, host) or not re.fullmatch(REPOSITORY, name):
        return None
    return REGISTRY_SCHEMES[scheme], host, name


def is_place(url: str) -> bool:
    """Whether versions can be published at a URL."""
    return is_server(url) or find_registry(url) is not None
