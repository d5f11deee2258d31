"""``trees``: directories beside the config whose files and links go into the machine."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path as FilePath

from firstboot.config.butane.encoding import Encoder
from firstboot.config.butane.files import LocalFiles, NoLocalFile
from firstboot.config.butane.models import Tree
from firstboot.config.butane.nodes import Nodes
from firstboot.config.models import Directory, File, Link, Owner, Resource
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Path, Problem

TAKEN = "the config already has something else there"


class Planting(NamedTuple):
    """What growing a tree needs."""

    nodes: Nodes
    files: LocalFiles
    encode: Encoder


def plant(tree: Tree, at: Path, planting: Planting) -> Iterator[Problem]:
    """Add everything in a tree. ``at`` is where the tree is written.

    Directories appear only if the tree says who owns them or what their mode is. A file or link that the config
    has there already gets its contents from the tree.
    """
    if not tree.local:
        yield Problem(at, "'local' is required", "name a directory beside the config")
        return
    try:
        top = planting.files.find(tree.local)
    except NoLocalFile as error:
        yield Problem(at, str(error), error.hint)
        return
    if not top.exists():
        yield Problem(at, f"'{tree.local}' does not exist")
        return
    if not top.is_dir():
        yield Problem(at, f"'{tree.local}' is not a directory")
        return
    for source in _walk(top):
        inside = source.relative_to(top).as_posix()
        path = posixpath.normpath(posixpath.join(tree.path or "/", inside))
        message = _add(tree, source, path, at, planting)
        if message is not None:
            yield Problem(at, f"{path}: {message}")


def _walk(directory: FilePath) -> Iterator[FilePath]:
    """A directory and everything in it, in the order of names, without following links: if it is one, only that."""
    yield directory
    if directory.is_symlink():
        return
    for entry in sorted(directory.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        else:
            yield entry


def _add(tree: Tree, source: FilePath, path: str, at: Path, planting: Planting) -> str | None:
    """Add one node; what is wrong with it, if anything is."""
    try:
        status = source.stat() if source.is_dir() and not source.is_symlink() else source.lstat()
        if stat.S_ISDIR(status.st_mode):
            return _add_directory(tree, path, at, planting.nodes)
        if stat.S_ISREG(status.st_mode):
            return _add_file(tree, source, path, at, planting)
        if stat.S_ISLNK(status.st_mode):
            return _add_link(tree, os.readlink(source), path, at, planting.nodes)  # noqa: PTH115 - verbatim
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "a tree may hold only files, directories and links"


def _add_directory(tree: Tree, path: str, at: Path, nodes: Nodes) -> str | None:
    if tree.dir_mode is None and tree.user == Owner() and tree.group == Owner():
        return None
    if nodes.has(path):
        return TAKEN
    mode = 0o755 if tree.dir_mode is None else tree.dir_mode
    nodes.add_directory(Directory(path=path, mode=mode, user=tree.user, group=tree.group), at)
    return None


def _add_file(tree: Tree, source: FilePath, path: str, at: Path, planting: Planting) -> str | None:
    file = planting.nodes.find_file(path)
    if (file is not None and file.contents.source) or (file is None and planting.nodes.has(path)):
        return TAKEN
    if file is None:
        file = File(path=path, user=tree.user, group=tree.group)
    encoded = planting.encode(source.read_bytes(), file.contents.compression)
    contents = file.contents.model_copy(update={"source": encoded.source})
    if encoded.compression is not None:
        contents = contents.model_copy(update={"compression": encoded.compression})
    mode = file.mode
    if mode is None:
        executable = source.stat().st_mode & 0o111
        mode = tree.file_mode if tree.file_mode is not None else 0o755 if executable else 0o644
    planting.nodes.put_file(file.model_copy(update={"contents": contents, "mode": mode}), at)
    return None


def _add_link(tree: Tree, target: str, path: str, at: Path, nodes: Nodes) -> str | None:
    link = nodes.find_link(path)
    if (link is not None and link.target) or (link is None and nodes.has(path)):
        return TAKEN
    if link is None:
        link = Link(path=path, user=tree.user, group=tree.group)
    nodes.put_link(link.model_copy(update={"target": target}), at)
    return None


def make_file(path: str, mode: int, data: bytes, encode: Encoder) -> File:
    """A new file with these contents."""
    encoded = encode(data, None)
    contents = Resource(source=encoded.source, compression=encoded.compression)
    return File(path=path, mode=mode, contents=contents)
