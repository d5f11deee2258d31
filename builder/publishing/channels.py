"""What a publisher says of a version in a channel, worked out as a new document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from builder.core.errors import InputError
from update.documents import Channel, ChannelRelease, Rollout
from update.versions import compare_versions, make_version_key

DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Offer:
    """To whom a version is offered; times in seconds, since 1970 where it is a moment."""

    minimum: str | None = None
    maximum: str | None = None
    barrier: bool = False
    dead_end: str | None = None
    rollout: Rollout | None = None
    notes: str | None = None


def parse_duration(text: str) -> int:
    """Seconds, from ``90m``, ``24h`` or ``7d``.

    Raises:
        InputError: it is anything else.
    """
    match = DURATION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is no duration", hint="write a number and s, m, h, d or w, like 24h")
    return int(match[1]) * SECONDS[match[2]]


def add_release(channel: Channel, version: str, offer: Offer, now: int) -> Channel:
    """The channel with a version, which replaces what it says of the same one; when it was published stays.

    Raises:
        InputError: the offer contradicts itself, or there is a version that compares as the same.
    """
    if offer.minimum and offer.maximum and compare_versions(offer.minimum, offer.maximum) > 0:
        raise InputError(f"no machine has at least {offer.minimum} and at most {offer.maximum}")
    if offer.minimum and compare_versions(offer.minimum, version) >= 0:
        raise InputError(
            f"{version} cannot ask for {offer.minimum}: the installed version must be older than {version}"
        )
    for there in channel.releases:
        if there.version != version and compare_versions(there.version, version) == 0:
            raise InputError(f"{channel.channel} has {there.version}, which is the same version as {version}")
    published = next((there.published for there in channel.releases if there.version == version), now)
    release = ChannelRelease(
        version, published, offer.minimum, offer.maximum, offer.barrier, offer.dead_end, offer.rollout, offer.notes
    )
    others = remove_releases(channel, {version})
    return others._replace(releases=(*others.releases, release))


def remove_releases(channel: Channel, versions: Iterable[str]) -> Channel:
    """The channel without these versions."""
    gone = set(versions)
    return channel._replace(releases=tuple(there for there in channel.releases if there.version not in gone))


def list_pruned(versions: Iterable[str], keep: int, barriers: Iterable[str]) -> list[str]:
    """The versions, oldest first, that are neither among the newest ``keep`` nor what machines must pass through."""
    ordered = sorted(versions, key=make_version_key)
    needed = set(barriers)
    return [version for version in ordered[: max(0, len(ordered) - keep)] if version not in needed]
