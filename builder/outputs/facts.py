"""What of an image a first-boot config can be checked against: every path, and the texts that decide something.

One JSON file beside the disk, so that ``build-os config check --image`` needs neither the store nor the disk.
"""

from __future__ import annotations

import json
from typing import Any

from builder.definition.model import Disk
from builder.definition.scalars import MIB
from builder.tree.node import Kind, Node
from builder.tree.tree import Tree

SCHEMA = 1
# Files whose text decides what a config may say; below a directory if it ends in '/'.
TEXTS = (
    "/etc/default/useradd",
    "/etc/group",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/shells",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d/",
    "/etc/containers/systemd/",
    "/etc/systemd/system/",
    "/usr/lib/build-os/apps.json",
    "/usr/lib/firstboot/base.d/",
    "/usr/lib/os-release",
    "/usr/lib/systemd/system/",
    "/usr/share/containers/systemd/",
)
# Their comments are for readers of the image; half of their bytes are licences.
COMMENTED = ("/etc/systemd/", "/usr/lib/systemd/", "/etc/ssh/", "/etc/containers/", "/usr/share/containers/")
# The machine has its own there: what the image has at the same place is never seen.
HIDDEN = ("/var/", "/run/", "/dev/", "/proc/", "/sys/", "/tmp/")


def make_facts(tree: Tree, layout: Disk, label: str) -> bytes:
    """The facts of a finished root, as JSON. The same tree gives the same bytes.

    Args:
        label: of the partitions that hold the root.

    Raises:
        OSError: content is gone from the store.
    """
    root: dict[str, Any] = {}
    places = {"": root}
    texts = {}
    text_files = {text for text in TEXTS if not text.endswith("/")}
    text_directories = tuple(text for text in TEXTS if text.endswith("/"))
    for path, node in tree.walk():
        if path == "/" or path.startswith(HIDDEN):
            continue
        above, _, name = path.rpartition("/")
        if node.kind is Kind.DIRECTORY:
            places[path] = places[above][name] = _directory(node)
        else:
            places[above][name] = _leaf(node)
        if node.kind is Kind.FILE and (path in text_files or path.startswith(text_directories)):
            text = node.content.read().decode("utf-8", "replace")
            texts[path] = _without_comments(text) if path.startswith(COMMENTED) else text
    partitions = {"esp": layout.esp // MIB, label: layout.slot // MIB, "state": None}
    data = {"schema": SCHEMA, "disk": layout.size // MIB, "partitions": partitions, "paths": root, "texts": texts}
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _directory(node: Node) -> dict[str, Any]:
    """By names; under the empty name what is not usual about the directory itself."""
    plain = node.mode == 0o755 and node.uid == node.gid == 0
    return {} if plain else {"": f"{node.mode:o}:{node.uid}:{node.gid}"}


def _leaf(node: Node) -> str | int:
    """0 for the usual file; ``f755:0:0``; ``>TARGET`` for a symbolic link."""
    if node.kind is Kind.SYMLINK:
        return f">{node.target}"
    if node.kind is Kind.FILE and node.mode == 0o644 and node.uid == node.gid == 0:
        return 0
    return f"{node.kind}{node.mode:o}:{node.uid}:{node.gid}"


def _without_comments(text: str) -> str:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith(("#", ";")))
    return "".join(f"{line}\n" for line in lines)
