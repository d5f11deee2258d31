"""Directories, files and links: what the specification says about each when something is there already.

The order is upstream's: everything by depth, so that a directory exists before what is in it, then hard
links, whose targets the config may have made.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from firstboot.apply.accounts import Names
from firstboot.apply.action import Action, Machine, Refused
from firstboot.apply.allowed import check_writable
from firstboot.apply.contents import Contents, Fetched, get_contents, measure_size, read_pieces
from firstboot.apply.root import Root, Seen
from firstboot.apply.walk import DIRECTORY_MODE
from firstboot.config.explain import find_suggestion
from firstboot.config.models import Config, Directory, File, Link, Node, Owner
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.resource import BadResource
from firstboot.config.text import Path, Problem

FILE_MODE = 0o644


class Ownership(NamedTuple):
    """Who something belongs to: an id, or a name that is looked up when needed; ``None`` is as it is."""

    user: int | str | None = None
    group: int | str | None = None

    def resolve_ids(self, names: Names) -> tuple[int, int]:
        """The numbers; -1 for what stays as it is.

        Raises:
            Refused: there is no such user or group.
        """
        uid, gid = self.user, self.group
        if isinstance(uid, str):
            account = names.users.get(uid)
            if account is None:
                raise Refused(f"there is no user '{uid}'")
            uid = account.uid
        if isinstance(gid, str):
            known = names.groups.get(gid)
            if known is None:
                raise Refused(f"there is no group '{gid}'")
            gid = known
        return (-1 if uid is None else uid), (-1 if gid is None else gid)


AS_IT_IS = Ownership()


class MakeDirectory(NamedTuple):
    """Make a directory, or change the mode and owner of one that is there."""

    at: Path
    path: str
    mode: int | None
    owner: Ownership
    clear: bool = False

    def describe(self) -> str:
        mode = "" if self.mode is None else f" {self.mode:04o}"
        return f"{'clear' if self.clear else 'make'} directory {self.path}{mode}"

    def perform(self, machine: Machine) -> None:
        root = machine.root
        if self.clear:
            root.remove(self.path)
        there = root.see(self.path)
        if there.stat is not None and not there.is_directory:
            raise Refused(_in_the_way(there))
        mode = self.mode
        if there.stat is None:
            root.make_directory(self.path)
            mode = DIRECTORY_MODE if mode is None else mode
        _finish(machine, self.path, mode, self.owner)


class WriteFile(NamedTuple):
    """Write a regular file, or change one that is there.

    ``contents`` is ``None`` where the file that is there is kept; ``added`` comes after either.
    """

    at: Path
    path: str
    mode: int | None
    owner: Ownership
    contents: Contents | None
    added: tuple[Contents, ...] = ()
    replace: bool = False

    def describe(self) -> str:
        mode = "" if self.mode is None else f" {self.mode:04o}"
        size = sum(map(measure_size, (self.contents or b"", *self.added)))
        if self.contents is None and not self.added:
            return f"change file {self.path}{mode}"
        verb = "append to" if self.contents is None else "replace" if self.replace else "write"
        return f"{verb} file {self.path}{mode} ({size} bytes)"

    def perform(self, machine: Machine) -> None:
        root = machine.root
        there = root.see(self.path)
        if there.stat is not None and not self.replace and (self.contents is not None or not there.is_file):
            raise Refused(_in_the_way(there))
        if self.contents is None and there.stat is None:
            raise Refused("the file is gone")
        mode = self.mode
        if self.contents is not None:
            if self.replace:
                root.remove(self.path)
            # Never there with another owner or mode than its own: its directory may be somebody's who waits for that.
            uid, gid = (max(number, 0) for number in self.owner.resolve_ids(machine.names))
            mode = FILE_MODE if mode is None else mode
            root.write(self.path, read_pieces(self.contents, *self.added), mode=mode, uid=uid, gid=gid)
            return
        if self.added:
            root.append(self.path, read_pieces(*self.added))
        _finish(machine, self.path, mode, self.owner)


class MakeLink(NamedTuple):
    """Make a symbolic link."""

    at: Path
    path: str
    target: str
    owner: Ownership
    replace: bool = False

    def describe(self) -> str:
        return f"{'replace' if self.replace else 'make'} link {self.path} -> {self.target}"

    def perform(self, machine: Machine) -> None:
        uid, gid = self.owner.resolve_ids(machine.names)
        if self.replace:
            machine.root.remove(self.path)
        machine.root.make_symlink(self.path, self.target, uid=max(uid, 0), gid=max(gid, 0))


class MakeHardLink(NamedTuple):
    """Give a file another name."""

    at: Path
    path: str
    target: str
    replace: bool = False

    def describe(self) -> str:
        return f"{'replace by' if self.replace else 'make'} hard link {self.path} -> {self.target}"

    def perform(self, machine: Machine) -> None:
        there, target = machine.root.see(self.path), machine.root.see(self.target)
        if target.stat is None:
            raise Refused(f"the target {self.target} is not there")
        if there.stat is not None:
            if there.is_same(target):
                return
            if not self.replace:
                raise Refused(_in_the_way(there))
            machine.root.remove(self.path)
        machine.root.make_hard_link(self.path, self.target)


def _finish(machine: Machine, path: str, mode: int | None, owner: Ownership) -> None:
    uid, gid = owner.resolve_ids(machine.names)
    if (uid, gid) != (-1, -1) or mode is not None:
        machine.root.change(path, uid=uid, gid=gid, mode=mode)


# --- deciding ---


class OwnerNames(NamedTuple):
    """Names that owners may have: those the root has and those the config makes."""

    users: frozenset[str]
    groups: frozenset[str]


def plan(config: Config, root: Root, known: OwnerNames, fetched: Fetched) -> Iterator[Action | Problem]:
    """What to do for ``storage``, and what cannot be done."""
    storage = config.storage
    nodes: list[tuple[Path, Node, Seen]] = []
    problems: list[Problem] = []
    cleared = _cleared(storage.directories, root)
    lists = (("directories", storage.directories), ("files", storage.files), ("links", storage.links))
    for name, elements in lists:
        for index, node in enumerate(elements):
            at: Path = ("storage", name, index)
            try:
                seen = _see(root, node.path, cleared)
            except OSError as error:
                problems.append(Problem((*at, "path"), f"'{node.path}' cannot be made: {error.strerror}"))
                continue
            nodes.append((at, node, seen))
            problems += check_writable(seen, node.path, (*at, "path"))
            problems += _owners(node, at, known)
    problems += _same_place(nodes)
    yield from problems
    nodes.sort(key=lambda row: (isinstance(row[1], Link) and bool(row[1].hard), row[2].path.count("/")))
    paths = {seen.path for _, _, seen in nodes}
    for at, node, seen in nodes:
        match node:
            case Directory():
                yield from _directory(node, at, seen)
            case File():
                yield from _file(node, at, seen, fetched)
            case Link(hard=True):
                yield from _hard_link(node, at, seen, partial(_see, root, cleared=cleared), paths)
            case Link():
                yield from _link(node, at, seen)
                yield from _time_zone(node, at, root)
            case _:
                raise AssertionError(node)


def _cleared(directories: Sequence[Directory], root: Root) -> set[str]:
    """What the config empties, as it is written and where it is: all of it before anything below is looked at, in
    whatever order the config has them.
    """
    paths: set[str] = set()
    for directory in directories:
        if directory.overwrite:
            with suppress(OSError):  # said where it is planned
                seen = root.see(directory.path)
                paths |= {directory.path, seen.path} if seen.stat is not None else set()
    return paths


def _see(root: Root, path: str, cleared: set[str]) -> Seen:
    """What will be at ``path`` once the directories that the config empties are empty."""
    above = next((place for place in cleared if path.startswith(place + "/")), None)
    if above is None:
        seen = root.see(path)
        if not any(seen.path.startswith(place + "/") for place in cleared):
            return seen
        return seen._replace(stat=None, target=None)
    emptied = root.see(above)
    return Seen(emptied.path + path[len(above) :], None, None, emptied.read_only)


def _same_place(nodes: list[tuple[Path, Node, Seen]]) -> Iterator[Problem]:
    places: dict[str, str] = {}
    for at, node, seen in nodes:
        if seen.path in places:
            yield Problem((*at, "path"), f"'{node.path}' and '{places[seen.path]}' are the same place, {seen.path}")
        places.setdefault(seen.path, node.path)


def _owners(node: Node, at: Path, known: OwnerNames) -> Iterator[Problem]:
    if isinstance(node, Link) and node.hard:
        return
    for kind, owner, names in (("user", node.user, known.users), ("group", node.group, known.groups)):
        if owner.name and owner.name not in names:
            message = f"there is no {kind} '{owner.name}'"
            yield Problem(
                (*at, kind, "name"), message, find_suggestion(owner.name, names) or f"add it to passwd.{kind}s"
            )


def _owner(node: Node) -> Ownership:
    def one(owner: Owner) -> int | str | None:
        return owner.id if owner.id is not None else owner.name or None

    return Ownership(one(node.user), one(node.group))


def _directory(node: Directory, at: Path, seen: Seen) -> Iterator[Action | Problem]:
    if seen.stat is not None and not seen.is_directory and not node.overwrite:
        yield _exists(at, node, seen)
        return
    clear = bool(node.overwrite) and seen.stat is not None
    owner = _owner(node)
    if clear or seen.stat is None or node.mode is not None or owner != AS_IT_IS:
        yield MakeDirectory(at, node.path, node.mode, owner, clear)


def _file(node: File, at: Path, seen: Seen, fetched: Fetched) -> Iterator[Action | Problem]:
    try:
        contents = None if node.contents.source is None else get_contents(node.contents, fetched)
        added = tuple(get_contents(part, fetched) for part in node.append)
    except BadResource as error:
        yield _bad_resource(error, node, at, fetched)
        return
    if seen.stat is not None and not node.overwrite and (contents is not None or not seen.is_file):
        yield _exists(at, node, seen)
        return
    if seen.stat is None and contents is None:
        contents = b""
    owner = _owner(node)
    if contents is None and not added and node.mode is None and owner == AS_IT_IS:
        return
    replacing = bool(node.overwrite) and seen.stat is not None
    yield WriteFile(at, node.path, node.mode, owner, contents, added, replacing)


def _bad_resource(error: BadResource, node: File, at: Path, fetched: Fetched) -> Problem:
    """Find the resource that is to blame again, to point at it."""
    resources: list[tuple[Path, Any]] = [(("contents",), node.contents)]
    resources += [(("append", index), part) for index, part in enumerate(node.append)]
    fields: dict[Literal["source", "compression", "hash"], Path] = {
        "source": ("source",),
        "compression": ("compression",),
        "hash": ("verification", "hash"),
    }
    for where, resource in resources:
        try:
            get_contents(resource, fetched)
        except BadResource:
            return Problem((*at, *where, *fields[error.field]), f"{node.path}: {error}")
    raise AssertionError("a resource was bad and is good")


def _link(node: Link, at: Path, seen: Seen) -> Iterator[Action | Problem]:
    target = node.target or ""
    if seen.target is not None and _clean(seen.target) == _clean(target):
        return
    if seen.stat is not None and not node.overwrite:
        yield _exists(at, node, seen)
        return
    yield MakeLink(at, node.path, target, _owner(node), seen.stat is not None)


def _clean(path: str) -> str:
    """As Go's ``path.Clean`` does it: POSIX lets two slashes at the beginning be something of their own."""
    cleaned = posixpath.normpath(path)
    return cleaned.removeprefix("/") if cleaned.startswith("//") else cleaned


def _time_zone(node: Link, at: Path, root: Root) -> Iterator[Problem]:
    """A wrong time zone shows nowhere: programs take a dangling link for UTC (localtime(5))."""
    zones = "/usr/share/zoneinfo"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(node.path), node.target or ""))
    if node.path == "/etc/localtime" and target.startswith(zones + "/") and root.has(zones):
        zone = target.removeprefix(zones + "/")
        if not root.has(target):
            yield Problem((*at, "target"), f"there is no time zone '{zone}' in the image")


def _hard_link(
    node: Link, at: Path, seen: Seen, see: Callable[[str], Seen], paths: set[str]
) -> Iterator[Action | Problem]:
    target = node.target or ""
    try:
        there = see(target)
    except OSError as error:
        yield Problem((*at, "target"), f"the target '{target}' cannot be reached: {error.strerror}")
        return
    if there.stat is None and there.path not in paths:
        yield Problem((*at, "target"), f"the target '{target}' of the hard link is not there")
    elif there.is_directory:
        yield Problem((*at, "target"), f"a hard link cannot point to a directory ({target})")
    elif seen.is_same(there):
        return
    elif seen.stat is not None and not node.overwrite:
        yield _exists(at, node, seen)
    else:
        yield MakeHardLink(at, node.path, target, bool(node.overwrite))


def _exists(at: Path, node: Node, seen: Seen) -> Problem:
    return Problem((*at, "path"), f"'{node.path}': {_in_the_way(seen)}", "set 'overwrite: true' to replace it")


def _in_the_way(seen: Seen) -> str:
    if seen.target is not None:
        return f"a link to {seen.target} is there already"
    what = "a directory" if seen.is_directory else "a file" if seen.is_file else "something that is no file"
    return f"{what} is there already"
