"""The root's own ``/etc/passwd`` and ``/etc/group``. Names are never looked up on the machine we run on."""

from __future__ import annotations

from firstboot.apply.root import Root
from firstboot.config.account_files import parse_rows
from firstboot.config.named_tuple import NamedTuple


class Account(NamedTuple):
    """A line of ``/etc/passwd`` (passwd(5))."""

    name: str
    uid: int
    gid: int
    home: str


class Names:
    """The users and groups of a root, read when first asked for and kept."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._users: dict[str, Account] | None = None
        self._groups: dict[str, int] | None = None

    @property
    def users(self) -> dict[str, Account]:
        """By name; empty if the root has no ``/etc/passwd``."""
        if self._users is None:
            self._users = _users(self._root)
        return self._users

    @property
    def groups(self) -> dict[str, int]:
        """Ids by name; empty if the root has no ``/etc/group``."""
        if self._groups is None:
            self._groups = _groups(self._root)
        return self._groups

    def forget(self) -> None:
        """They have changed."""
        self._users = self._groups = None


def _users(root: Root) -> dict[str, Account]:
    users: dict[str, Account] = {}
    for fields in _lines(root, "/etc/passwd", 7):
        if fields[2].isdigit() and fields[3].isdigit():
            account = Account(fields[0], int(fields[2]), int(fields[3]), fields[5])
            users.setdefault(account.name, account)
    return users


def _groups(root: Root) -> dict[str, int]:
    groups: dict[str, int] = {}
    for fields in _lines(root, "/etc/group", 4):
        if fields[2].isdigit():
            groups.setdefault(fields[0], int(fields[2]))
    return groups


def _lines(root: Root, path: str, count: int) -> list[list[str]]:
    try:
        text = root.read(path).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [row for row in parse_rows(text) if len(row) == count]
