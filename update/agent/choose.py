"""Which version of a channel a machine takes: pure, so that it can be asked for any machine and any time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from firstboot.config.named_tuple import NamedTuple
from update.documents import Channel, ChannelRelease
from update.versions import compare_versions


class Asking(NamedTuple):
    """Who asks.

    Attributes:
        version: what runs.
        machine: the machine's own ID, which decides when a rollout reaches it.
        now: seconds since 1970.
        failed: versions that have failed here.
        pin: the only version that it may take.
    """

    version: str
    machine: str
    now: float
    failed: Collection[str] = ()
    pin: str | None = None


class Choice(NamedTuple):
    """The version, or ``None`` and why there is none; in words, for people."""

    version: str | None
    reason: str


def choose_version(channel: Channel, asking: Asking) -> Choice:
    """The newest version that the machine may take, and that is offered to it now."""
    for release in channel.releases:
        if release.dead_end is not None and compare_versions(release.version, asking.version) == 0:
            return Choice(None, f"version {release.version} is a dead end: {release.dead_end}")
    newer = [release for release in channel.releases if compare_versions(release.version, asking.version) > 0]
    if not newer:
        return Choice(None, f"the channel {channel.channel} has nothing newer than {asking.version}")
    # Sorted: nothing behind the first barrier can be taken before that has run.
    end = next((index for index, release in enumerate(newer) if release.barrier), len(newer))
    reasons = {release.version: _find_obstacle(release, asking) for release in newer[: end + 1]}
    for release in newer[end + 1 :]:
        reasons[release.version] = f"version {newer[end].version} must have run before"
    for release in reversed(newer):
        if not reasons[release.version]:
            return Choice(release.version, release.notes or "")
    latest = newer[-1].version
    return Choice(None, f"version {latest} is there, and not for this machine now: {reasons[latest]}")


def _find_obstacle(release: ChannelRelease, asking: Asking) -> str:
    """Why the machine does not take a version; empty where it does."""
    if asking.pin is not None and compare_versions(asking.pin, release.version) != 0:
        return f"the machine is pinned to version {asking.pin}"
    if release.version in asking.failed:
        return "it has failed here"
    if release.minimum is not None and compare_versions(asking.version, release.minimum) < 0:
        return f"it wants at least version {release.minimum}"
    if release.maximum is not None and compare_versions(asking.version, release.maximum) > 0:
        return f"it wants at most version {release.maximum}"
    if release.rollout is not None:
        share = release.rollout.compute_share(asking.now)
        if compute_place(asking.machine, release.version) >= share:
            return f"it is offered to {100 * share:.0f} % of the machines so far"
    return ""


def compute_place(machine: str, version: str) -> float:
    """Where a machine stands in the queue for a version: 0 to below 1, another place for each version."""
    digest = hashlib.sha256(f"{machine}:{version}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
