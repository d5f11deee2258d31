"""What a repository has, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

from tuf.api.metadata import Signed

from builder.core.console import format_size
from builder.publishing.keys import is_development
from builder.publishing.publish import list_channels, list_images, list_versions
from builder.publishing.repository import Repository
from update.documents import ChannelRelease, Release, format_channel, format_release
from update.times import format_time


def describe_repository(repository: Repository, now: int) -> dict[str, Any]:
    """Images with channels and versions, and when what expires."""
    documents: dict[str, Signed] = {
        "root": repository.root.signed,
        "targets": repository.targets.signed,
        "snapshot": repository.snapshot.signed,
        "timestamp": repository.timestamp.signed,
    }
    return {
        "development": is_development(repository.root.signed),
        "metadata": {
            role: {
                "version": document.version,
                "expires": format_time(int(document.expires.timestamp())),
                "expired": document.expires.timestamp() < now,
            }
            for role, document in documents.items()
        },
        "images": [
            {
                "name": name,
                "arch": arch,
                "versions": list_versions(repository, name, arch),
                "channels": [
                    {
                        **json.loads(format_channel(channel)),
                        "words": [_describe(release, now) for release in channel.releases],
                    }
                    for channel in list_channels(repository, name, arch)
                ],
            }
            for name, arch in list_images(repository)
        ],
    }


def _describe(release: ChannelRelease, now: int) -> str:
    words = [release.version]
    if release.rollout is not None and (share := release.rollout.compute_share(now)) < 1:
        words.append(f"to {100 * share:.0f} % of the machines now")
    if release.minimum:
        words.append(f"from {release.minimum} on")
    if release.maximum:
        words.append(f"up to {release.maximum}")
    if release.barrier:
        words.append("barrier")
    if release.dead_end:
        words.append(f"dead end: {release.dead_end.splitlines()[0]}")
    return ", ".join(words)


def format_listing(repository: dict[str, Any]) -> str:
    """For people."""
    lines = ["signed by development keys"] if repository["development"] else []
    for image in repository["images"]:
        lines.append(f"{image['name']} for {image['arch']}: {', '.join(image['versions'])}")
        for channel in image["channels"]:
            lines.append(f"  {channel['channel']}")
            lines += [f"    {words}" for words in reversed(channel["words"])]
    for role, entry in repository["metadata"].items():
        state = "EXPIRED" if entry["expired"] else "expires"
        lines.append(f"{role} {entry['version']} {state} {entry['expires']}")
    return "\n".join(lines)


def describe_release(release: Release) -> dict[str, Any]:
    """What ``release.json`` says."""
    described: dict[str, Any] = json.loads(format_release(release))
    return described


def format_release_lines(release: Release) -> str:
    """For people."""
    lines = [f"{release.name} {release.version} for {release.arch}", f"root hash {release.roothash}"]
    for name, part in release.parts.items():
        size = sum(file.size for file in part.files)
        lines.append(f"  {name}: {format_size(part.size)}, {format_size(size)} to transfer")
        lines += [f"    from {d.source}: {format_size(d.size)}" for d in release.deltas if d.part == name]
    for extension in release.extensions:
        size = sum(file.size for file in extension.part.files)
        words = f"{format_size(extension.part.size)}, {format_size(size)} to transfer"
        lines.append(f"  {extension.type} {extension.name}: {words}")
    return "\n".join(lines)
