"""Files, directories and links."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from firstboot.config.checks.resources import check_resource
from firstboot.config.models import File, Link, Node, Owner, Storage
from firstboot.config.text import Path, Problem

Version = tuple[int, int]

NO_CONTENTS = "to overwrite, give the new contents (they may be empty)"
SPECIAL_BITS = 0o7000


def check_nodes(storage: Storage, version: Version) -> Iterator[Problem]:
    path: Path = ("storage",)
    directories = {directory.path for directory in storage.directories}
    for index, directory in enumerate(storage.directories):
        here = (*path, "directories", index)
        yield from _node(directory, here)
        yield from _mode(directory.mode, (*here, "mode"), version)
    for index, file in enumerate(storage.files):
        yield from _file(file, (*path, "files", index), version)
    for index, link in enumerate(storage.links):
        yield from _link(link, (*path, "links", index), directories, version)
    yield from _below_links(storage, path)


def _node(node: Node, path: Path) -> Iterator[Problem]:
    yield from check_path(node.path, (*path, "path"))
    yield from _owner(node.user, (*path, "user"))
    yield from _owner(node.group, (*path, "group"))


def check_path(text: str, at: Path) -> Iterator[Problem]:
    """Whether it is an absolute path in its simplest form."""
    if not text:
        yield Problem(at, "a path is required")
    elif not text.startswith("/"):
        yield Problem(at, f"the path '{text}' is not absolute", f"write /{text}")
    elif clean(text) != text:
        yield Problem(at, f"the path '{text}' is not in its simplest form", f"write {clean(text)}")


def clean(path: str) -> str:
    """Go's ``path.Clean``: no double or trailing slashes, no ``.`` or ``..``."""
    normal = posixpath.normpath(path)
    return "/" + normal.lstrip("/") if normal.startswith("//") else normal


def _owner(owner: Owner, path: Path) -> Iterator[Problem]:
    if owner.id is not None and owner.name:
        yield Problem(path, "give either the id or the name, not both")


def _mode(mode: int | None, path: Path, version: Version) -> Iterator[Problem]:
    if mode is None:
        return
    if not 0 <= mode <= 0o7777:
        yield Problem(path, f"the mode {mode} is not between 0 and 07777")
    elif mode & SPECIAL_BITS and version < (3, 6):
        message = "the setuid, setgid and sticky bits are dropped: they need Ignition 3.6.0"
        yield Problem(path, message, "raise the version at the top", "warning")


def _file(file: File, path: Path, version: Version) -> Iterator[Problem]:
    yield from _node(file, path)
    yield from _mode(file.mode, (*path, "mode"), version)
    if file.overwrite and file.contents.source is None:
        yield Problem((*path, "overwrite"), NO_CONTENTS)
    yield from check_resource(file.contents, (*path, "contents"), version)
    for index, resource in enumerate(file.append):
        yield from check_resource(resource, (*path, "append", index), version)


def _link(link: Link, path: Path, directories: set[str], version: Version) -> Iterator[Problem]:
    yield from _node(link, path)
    if not link.target and version >= (3, 3):
        yield Problem((*path, "target"), "a link needs a target")
    if not link.hard:
        return
    target = link.target or ""
    # A relative target is taken as below the link itself here, whatever happens when it is made.
    resolved = clean(target if target.startswith("/") else f"{link.path}/{target}")
    if resolved in directories:
        yield Problem(path, f"a hard link cannot point to a directory ({resolved})")
    for kind, owner in (("user", link.user), ("group", link.group)):
        for name, value in (("id", owner.id), ("name", owner.name)):
            if value is not None:
                yield Problem((*path, kind, name), f"the {kind} of a hard link is ignored", None, "warning")


def _below_links(storage: Storage, path: Path) -> Iterator[Problem]:
    """Something below a link: which directory that means depends on what is on the disk, so it is refused."""
    links = {link.path for link in storage.links if link.path}
    if not links:
        return
    lists = (("directories", storage.directories), ("files", storage.files), ("links", storage.links))
    for name, nodes in lists:
        for index, node in enumerate(nodes):
            above = next((parent for parent in _parents(node.path) if parent in links), None)
            if above is not None:
                message = f"'{node.path}' is below '{above}', which this config makes a link"
                yield Problem((*path, name, index), message, "name the directory that the link points to")


def _parents(path: str) -> Iterator[str]:
    """``/a`` and ``/a/b`` of ``/a/b/c``."""
    position = path.find("/", 1)
    while position > 0:
        yield path[:position]
        position = path.find("/", position + 1)
