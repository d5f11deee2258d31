"""The way to a place: one directory after the other, open, and who could have turned it.

A user can put a link, or another directory, wherever a directory is theirs. Root may go where it leads as long as it
only looks. It may write there only what that user could have written as well: in a directory that is theirs. The rule
is systemd-tmpfiles' (``CHASE_SAFE``, "unsafe path transition"), applied to links: a directory of somebody else inside a
home is still inside that home. It is asked of the open directory that is then written to, so nobody can be quicker.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque

OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY_MODE = 0o755
_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_ANYBODY = -1


class Walk:
    """Directories opened on the way to a place; the last one is where the rest of the path begins.

    Attributes:
        names: of the open directories, below the root.
        missing: what comes after them and is not there.
        others: the users, besides root, who can change what is on the way.
        turn: the first link on the way that one of them could have made.
    """

    def __init__(self, root: int) -> None:
        self._open: list[int] = []
        self.names: list[str] = []
        self.missing: list[str] = []
        self.others: set[int] = set()
        self.turn = ""
        self._links = 0
        self._enter(os.dup(root))

    @property
    def here(self) -> int:
        """The last directory, open."""
        return self._open[-1]

    @property
    def path(self) -> str:
        """Where the walk is, what is missing included."""
        return "/" + "/".join([*self.names, *self.missing])

    def close(self) -> None:
        """Close all directories."""
        for descriptor in self._open:
            os.close(descriptor)

    def descend(self, parts: list[str], *, create: bool) -> None:
        """Go on, through links; with ``create`` directories that are missing are made.

        Raises:
            OSError: ELOOP, ENOTDIR, EACCES; ENOLINK: :meth:`require_safe`.
        """
        pending = deque(parts)
        while pending:
            part = pending.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                self._up()
                continue
            if self.missing:
                self.missing.append(part)
                continue
            try:
                fd = os.open(part, OPEN, dir_fd=self.here)
            except FileNotFoundError:
                if not create:
                    self.missing.append(part)
                    continue
                self.require_safe()
                fd = make_directory(part, self.here, DIRECTORY_MODE)
            there = os.fstat(fd)
            if stat.S_ISDIR(there.st_mode):
                self.names.append(part)
                self._enter(fd)
                continue
            target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(there.st_mode) else None
            os.close(fd)
            if target is None:
                raise NotADirectoryError(errno.ENOTDIR, f"'{self._at(part)}' is not a directory")
            self._follow(part, there, target)
            pending.extendleft(reversed(target.split("/")))

    def follow_last(self, name: str) -> list[str] | None:
        """If the last name is a link, turn to where it leads, and return the rest of the way; otherwise ``None``."""
        if self.missing:
            return None
        try:
            fd = os.open(name, OPEN, dir_fd=self.here)
        except FileNotFoundError:
            return None
        try:
            there = os.fstat(fd)
            if not stat.S_ISLNK(there.st_mode):
                return None
            target = os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)
        self._follow(name, there, target)
        return target.split("/")

    def explain_unsafe(self) -> str:
        """Why nothing may be written here; nothing if it may."""
        owner = os.fstat(self.here).st_uid
        if not self.turn or self.others == {owner}:
            return ""
        users = " and ".join("anybody" if uid == _ANYBODY else f"user {uid}" for uid in sorted(self.others))
        where = "/" + "/".join(self.names)
        return f"'{self.turn}' is a link that {users} can change, and it leads to {where} of user {owner}"

    def require_safe(self) -> None:
        """Whether root may write here.

        Raises:
            OSError: ENOLINK: a link that a user could have made leads to what is not that user's.
        """
        if why := self.explain_unsafe():
            raise OSError(errno.ENOLINK, why)

    def require_own(self, there: os.stat_result) -> None:
        """Whether a file here may be changed: where a user could have put it, it must not be another's as well.

        Raises:
            OSError: ENOLINK: it has a second name and belongs to somebody else: a hard link to what the user may not
                write.
        """
        if self.others and stat.S_ISREG(there.st_mode) and there.st_nlink > 1 and {there.st_uid} != self.others:
            raise OSError(
                errno.ENOLINK, f"it is a hard link, which another user could have made to a file of user {there.st_uid}"
            )

    def _enter(self, fd: int) -> None:
        self._open.append(fd)
        there = os.fstat(fd)
        if there.st_uid != 0:
            self.others.add(there.st_uid)
        # Where a directory is sticky, links are their owners' alone.
        shared = there.st_mode & stat.S_IWOTH or (there.st_mode & stat.S_IWGRP and there.st_gid != 0)
        if shared and not there.st_mode & stat.S_ISVTX and there.st_uid == 0:
            self.others.add(_ANYBODY)

    def _follow(self, name: str, link: os.stat_result, target: str) -> None:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, "too many links, or links that point at each other")
        if link.st_uid != 0:
            self.others.add(link.st_uid)
        if self.others and not self.turn:
            self.turn = self._at(name)
        if target.startswith("/"):
            self.missing.clear()
            while self.names:
                self._up()

    def _at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def _up(self) -> None:
        if self.missing:
            self.missing.pop()
        elif self.names:
            self.names.pop()
            os.close(self._open.pop())


def make_directory(name: str, directory: int, mode: int, uid: int = 0, gid: int = 0) -> int:
    """mkdir with exactly this mode, whatever the umask, and this owner; opened.

    Raises:
        OSError: FileExistsError; EEXIST also if somebody put another one in its place meanwhile.
    """
    os.mkdir(name, 0o700, dir_fd=directory)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        require_made(fd)
        change_owner(fd, uid, gid)
        os.fchmod(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def require_made(fd: int) -> None:
    """Whether what was opened is what was just made, and not what the directory's owner put in its place.

    Raises:
        FileExistsError
    """
    if os.geteuid() == 0 and os.fstat(fd).st_uid != 0:
        raise FileExistsError(errno.EEXIST, "somebody put something else there meanwhile")


def change_owner(fd: int, uid: int, gid: int) -> None:
    """fchown, where it can work: an ordinary user can only ever own what it makes itself."""
    if os.geteuid() == 0:
        os.fchown(fd, uid, gid)
