"""Who a container's process is: the ``User`` of an image's configuration, by the image's own passwd and group.

Source: image-spec, conversion.md, "Config.User"; passwd(5), group(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from builder.core.errors import InputError
from builder.tree.tar_headers import MAX_ID
from builder.tree.tree import Tree

_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Account:
    """Who a process is. ``groups`` are the further ones, sorted."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def find_account(tree: Tree, user: str) -> Account:
    """The account that ``user``, ``user:group``, ``uid`` or ``uid:gid`` names; root if it is empty.

    Raises:
        InputError: the image has no such user or group.
    """
    who, _, group = user.partition(":")
    who = who or "0"
    rows = list(_read_rows(tree, "/etc/passwd", 7))
    number = _parse_number(who)
    row = next((row for row in rows if row[0] == who or (number is not None and row[2] == who)), None)
    uid = number if row is None else _parse_number(row[2])
    if uid is None:
        raise InputError(f"the image has no user '{who}'", hint="its /etc/passwd names them; or give a number")
    home = row[5] if row is not None and row[5].startswith("/") else "/"
    if group:
        return Account(uid, _find_group(tree, group), (), home)
    gid = (_parse_number(row[3]) if row is not None else None) or 0
    groups = {
        int(entry[2])
        for entry in _read_rows(tree, "/etc/group", 4)
        if row is not None and row[0] in entry[3].split(",") and _parse_number(entry[2]) is not None
    }
    return Account(uid, gid, tuple(sorted(groups - {gid})), home)


def _find_group(tree: Tree, group: str) -> int:
    gid = _parse_number(group)
    if gid is None:
        gid = next((_parse_number(row[2]) for row in _read_rows(tree, "/etc/group", 4) if row[0] == group), None)
    if gid is None:
        raise InputError(f"the image has no group '{group}'", hint="its /etc/group names them; or give a number")
    return gid


def _parse_number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= MAX_ID else None


def _read_rows(tree: Tree, path: str, fields: int) -> Iterator[list[str]]:
    node = tree.get(path, follow=True)
    if node is None or not node.size or node.size > 1 << 20:
        return
    for line in node.content.read().decode(errors="replace").splitlines():
        row = line.split(":")
        if len(row) == fields:
            yield row
