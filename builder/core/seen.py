"""What a command has looked at on the disk, so that it can be told later that nothing of it has changed.

Python says itself which files it opens and which directories it lists (:func:`sys.addaudithook`); who only asks whether
a path is there says so by :func:`note`. A path is described before it is read: what changes later, during the reading
included, is another description. What was written only just now may change again within the same tick of the file
system's clock, so whoever saw that remembers nothing (as git does with its index, "racy git").
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

# mode, size, change and modification in ns, inode; None where there is nothing.
Description = tuple[int, int, int, int, int] | None
# A clock of a file system ticks every 4 ms or so; one of whole seconds or two (FAT, NFS 2) is known by its zeros.
YOUNG = 100_000_000
YOUNG_IN_SECONDS = 2_500_000_000
SECOND = 1_000_000_000
# What the kernel says of itself is never the same, and decides nothing here.
UNSTABLE = ("/proc/", "/sys/", "/dev/")
# Python's own modules, and those that were installed for it; its prefix is also what lies beside them: /usr/src.
OF_PYTHON = tuple(f"{prefix}/lib/" for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)))


class Seen:
    """The paths that were looked at since this was started, until it is paused.

    Attributes:
        is_certain: whether any later change of them will be noticed.
        is_ours: what is looked at from now on was written by this process, and by nobody else meanwhile: it may be
            young.
    """

    def __init__(self) -> None:
        self.paths: dict[str, Description] = {}
        self.directories: set[str] = set()
        self.is_certain = True
        self.is_ours = False

    def add(self, path: Any) -> None:
        """Describe a path as it is now, if it is a new one."""
        try:
            full = make_absolute(path)
        except (TypeError, ValueError):  # a descriptor: whatever it is of was opened by its path
            return
        if full in self.paths or full.startswith(UNSTABLE):
            return
        description = describe(full)
        self.paths[full] = description
        if description is not None and not self.is_ours and is_young(description, time.time_ns()):
            self.is_certain = False
        if full.endswith(".pyc") and "/__pycache__/" in full:
            # Python has compared it with its source, which decides.
            folder, _, name = full.rpartition("/__pycache__/")
            self.add(f"{folder}/{name.partition('.')[0]}.py")

    def add_directory(self, path: Any) -> None:
        """Describe a directory, and what is in it: who lists it may ask what its entries are, and read none."""
        self.add(path)
        try:
            full = make_absolute(path)
        except (TypeError, ValueError):
            return
        if full in self.directories or full in sys.path or full.startswith(OF_PYTHON):
            return  # where Python looks for modules
        self.directories.add(full)
        _Process.seen = None  # this looks by itself
        try:
            names = os.listdir(full)  # noqa: PTH208 - a thousand of them
        except OSError:
            names = []
        finally:
            _Process.seen = self
        for name in names:
            self.add(f"{full}/{name}")

    def forget_below(self, directories: Iterable[str]) -> None:
        """Of what lies there, what was seen counts no more."""
        below = tuple(f"{make_absolute(directory)}/" for directory in directories)
        self.paths = {path: known for path, known in self.paths.items() if not path.startswith(below)}


class _Process:
    """A hook is the process's, and cannot be taken out again."""

    seen: Seen | None = None
    has_hook = False


def start(seen: Seen) -> None:
    """Gather into this from now on."""
    _Process.seen = seen
    if not _Process.has_hook:
        sys.addaudithook(_attend)
        _Process.has_hook = True
    for name, module in list(sys.modules.items()):
        # What was imported before: of ours; all else comes and goes with Python itself.
        if name.startswith(("builder", "firstboot", "update")) and (file := getattr(module, "__file__", None)):
            seen.add(file)


def pause() -> Seen | None:
    """Gather nothing from now on; what was gathered can be gone on with."""
    seen, _Process.seen = _Process.seen, None
    return seen


def note(path: str | os.PathLike[str]) -> None:
    """Say that it was looked at whether this path is there, or what it is."""
    if _Process.seen is not None:
        _Process.seen.add(path)


def _attend(event: str, arguments: tuple[Any, ...]) -> None:
    seen = _Process.seen
    if seen is None:
        return
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, int) and not (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            seen.add(path)
    elif event in ("os.listdir", "os.scandir"):
        seen.add_directory("." if arguments[0] is None else arguments[0])


def make_absolute(path: Any) -> str:
    """A path from the root, links left as they are.

    Raises:
        TypeError: it is no path.
        ValueError: no file can have it.
    """
    text = os.fsdecode(path)
    if ".." in text.split("/"):  # what that is behind a link, only the kernel knows
        return os.path.join(os.getcwd(), text)  # noqa: PTH109, PTH118 - no Path: a thousand of them
    return os.path.abspath(text)  # noqa: PTH100


def describe(path: str) -> Description:
    """What a path is, links followed: any change of what is read there changes this."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a thousand of them
    except OSError:
        return None
    return (status.st_mode, status.st_size, status.st_ctime_ns, status.st_mtime_ns, status.st_ino)


def is_young(description: tuple[int, int, int, int, int], now: int) -> bool:
    """Whether it was changed so shortly before ``now`` (ns) that another change might not be seen."""
    _, _, changed, modified, _ = description
    limit = YOUNG_IN_SECONDS if changed % SECOND == 0 or modified % SECOND == 0 else YOUNG
    # Its times may also be set by hand, and lie in the future.
    return now - changed < limit or 0 <= now - modified < limit


def is_unchanged(paths: Mapping[str, Any]) -> bool:
    """Whether every path is as it was described."""
    return all(describe(path) == (None if known is None else tuple(known)) for path, known in paths.items())
