"""Spec versions, and the translation of a config from its own to the newest."""

from __future__ import annotations

from typing import TypeVar

from firstboot.config.checks.nodes import SPECIAL_BITS
from firstboot.config.models import Config, Directory, File

Version = tuple[int, int]

STABLE: tuple[Version, ...] = ((3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 6))
EXPERIMENTAL: tuple[Version, ...] = ((3, 7),)
NEWEST = EXPERIMENTAL[-1]
NAMES = {f"{major}.{minor}.0": (major, minor) for major, minor in STABLE} | {
    f"{major}.{minor}.0-experimental": (major, minor) for major, minor in EXPERIMENTAL
}

OWN_SUFFIX = "+buildos"
"""Behind the version of a compiled config that says what no Ignition can."""


def format_version(version: Version) -> str:
    """``3.7.0-experimental`` for (3, 7)."""
    return next(name for name, known in NAMES.items() if known == version)


def find_version(text: object) -> Version | None:
    """The spec version that ``ignition.version`` means; ``None`` if it is none that is supported.

    Leading zeros are read as Ignition's parser reads them: ``03.6.0`` is 3.6.0.
    """
    if not isinstance(text, str):
        return None
    numbers, dash, rest = text.partition("-")
    parts = numbers.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return NAMES.get(".".join(part.lstrip("0") or "0" for part in parts) + dash + rest)


def translate(config: Config, version: Version) -> Config:
    """A config of ``version`` as a config of the newest version with the same meaning.

    Before 3.6.0 the setuid, setgid and sticky bits had no effect, so they are cleared.
    """
    update: dict[str, object] = {
        "ignition": config.ignition.model_copy(update={"version": format_version(NEWEST)}),
    }
    if version < (3, 6):
        storage = config.storage
        update["storage"] = storage.model_copy(
            update={
                "files": tuple(_without_special_bits(file) for file in storage.files),
                "directories": tuple(_without_special_bits(directory) for directory in storage.directories),
            }
        )
    return config.model_copy(update=update)


N = TypeVar("N", File, Directory)


def _without_special_bits(node: N) -> N:
    if node.mode is None or not node.mode & SPECIAL_BITS:
        return node
    return node.model_copy(update={"mode": node.mode & ~SPECIAL_BITS})
