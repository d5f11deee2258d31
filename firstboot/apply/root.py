"""The one door for writes: a directory that no path can lead out of.

Paths are absolute inside the root. Links in the middle of a path are followed as if the root were ``/``, the
last component is never followed, ``..`` stops at the root. This is done with directory file descriptors and
``O_NOFOLLOW``, one component at a time, so what was looked at is what is written to. The same code runs on
``/``, on ``/sysroot`` and on a directory in a test.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel: path_resolution(7)
DIRECTORY_MODE = 0o755
_READ_CHUNK = 1 << 20


class Seen(NamedTuple):
    """What is at a path now.

    Attributes:
        path: where it really is, with the links on the way resolved.
        stat: of the thing itself (a link is not followed); ``None`` if it is not there.
        target: where it points, if it is a symbolic link.
        read_only: it, or the nearest directory above it that exists, is on a read-only filesystem.
    """

    path: str
    stat: os.stat_result | None
    target: str | None
    read_only: bool

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return self.stat is not None and stat.S_ISREG(self.stat.st_mode)

    @property
    def is_directory(self) -> bool:
        """A directory, not a link to one."""
        return self.stat is not None and stat.S_ISDIR(self.stat.st_mode)

    def is_same(self, other: Seen) -> bool:
        """Two names of one file."""
        if self.stat is None or other.stat is None:
            return False
        return (self.stat.st_dev, self.stat.st_ino) == (other.stat.st_dev, other.stat.st_ino)


class _Walk:
    """Directories opened on the way to a place; the last one is where the rest of the path begins."""

    def __init__(self, root: int) -> None:
        self.open = [os.dup(root)]
        self.names: list[str] = []
        self.missing: list[str] = []

    @property
    def here(self) -> int:
        return self.open[-1]

    @property
    def path(self) -> str:
        return "/" + "/".join([*self.names, *self.missing])

    def up(self) -> None:
        if self.missing:
            self.missing.pop()
        elif self.names:
            self.names.pop()
            os.close(self.open.pop())

    def to_root(self) -> None:
        self.missing.clear()
        while self.names:
            self.up()

    def close(self) -> None:
        for each in self.open:
            os.close(each)


class Root:
    """A directory tree to write to.

    Every method takes paths inside the root and raises ``OSError`` as the system call it stands for does,
    with the path inside the root as its file name.
    """

    def __init__(self, directory: str | Path = "/") -> None:
        self.directory = os.path.abspath(directory)  # noqa: PTH100 - resolve() would follow links
        self._fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def is_system(self) -> bool:
        """Whether this is the running system itself, ``/``."""
        return self.directory == "/"

    # --- looking ---

    def see(self, path: str) -> Seen:
        """What is at ``path``. A missing directory on the way is no error, a file on the way is.

        Raises:
            NotADirectoryError, OSError (ELOOP, EACCES)
        """
        with self._place(path, create=False) as (walk, name):
            if name is None:
                there = os.fstat(walk.here)
                return Seen("/", there, None, _is_read_only(walk.here))
            where = walk.path.rstrip("/") + "/" + name
            if walk.missing:
                return Seen(where, None, None, _is_read_only(walk.here))
            try:
                there = os.stat(name, dir_fd=walk.here, follow_symlinks=False)
            except FileNotFoundError:
                return Seen(where, None, None, _is_read_only(walk.here))
            target = os.readlink(name, dir_fd=walk.here) if stat.S_ISLNK(there.st_mode) else None
            return Seen(where, there, target, self._read_only_at(walk.here, name, there))

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads to something, following a link at its end."""
        return self._follow(path).stat is not None

    def resolve(self, path: str) -> str:
        """Where ``path`` leads, following a link at its end, whether or not there is something."""
        return self._follow(path).path

    def read(self, path: str, *, follow: bool = True) -> bytes:
        """The content of a regular file.

        Raises:
            OSError: it is not there, or not a regular file.
        """
        if follow:
            path = self._follow(path).path
        with self._place(path, create=False) as (walk, name):
            self._require_name(path, name, walk)
            assert name is not None
            with _named(path):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=walk.here)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file", path)
                return file.read()

    # --- writing ---

    def make_directory(self, path: str, mode: int = DIRECTORY_MODE) -> None:
        """Make a directory and those above it that are missing (0755). One that is there stays as it is.

        Raises:
            FileExistsError: something else is there.
        """
        with self._place(path, create=True) as (walk, name):
            if name is None:
                return
            with _named(path):
                try:
                    _make_directory(name, walk.here, mode)
                except FileExistsError:
                    there = os.stat(name, dir_fd=walk.here, follow_symlinks=False)
                    if not stat.S_ISDIR(there.st_mode):
                        raise

    def make_parents(self, path: str) -> None:
        """Make the directories above ``path`` that are missing, also where links lead to missing ones."""
        with self._place(path, create=True):
            pass

    def write(self, path: str, data: bytes | Iterable[bytes], *, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Put a regular file at ``path``, whole or not at all, in place of a file or link that is there.

        Args:
            data: what is in it, in one piece or several.

        Raises:
            IsADirectoryError: a directory is there: :meth:`remove` it first.
        """
        with self._place(path, create=True) as (walk, name):
            self._require_name(path, name, walk)
            assert name is not None
            temporary = f".firstboot-{os.urandom(6).hex()}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with _named(path):
                fd = os.open(temporary, flags, 0o600, dir_fd=walk.here)
                try:
                    with os.fdopen(fd, "wb") as file:
                        file.writelines([data] if isinstance(data, bytes) else data)
                        file.flush()
                        _own(fd, uid, gid)
                        os.fchmod(fd, mode)  # after the owner: changing that clears setuid and setgid
                    os.rename(temporary, name, src_dir_fd=walk.here, dst_dir_fd=walk.here)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=walk.here)
                    raise

    def write_durably(self, path: str, data: bytes, *, mode: int) -> None:
        """:meth:`write` that has reached the disk, name and all, when it returns."""
        self.write(path, data, mode=mode)
        with self._place(path, create=False) as (walk, name), _named(path):
            assert name is not None
            for each in (name, "."):
                _sync(each, walk.here)

    def append(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Add to the end of a regular file that is there."""
        with self._place(path, create=False) as (walk, name), _named(path):
            self._require_name(path, name, walk)
            assert name is not None
            fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.here)
            with os.fdopen(fd, "ab") as file:
                file.writelines([data] if isinstance(data, bytes) else data)

    def symlink(self, path: str, target: str, *, uid: int = 0, gid: int = 0) -> None:
        """Make a symbolic link. The target is any text and is not looked at.

        Raises:
            FileExistsError
        """
        with self._place(path, create=True) as (walk, name), _named(path):
            self._require_name(path, name, walk)
            assert name is not None
            os.symlink(target, name, dir_fd=walk.here)
            if os.geteuid() == 0:
                os.chown(name, uid, gid, dir_fd=walk.here, follow_symlinks=False)

    def hard_link(self, path: str, target: str) -> None:
        """Make another name for a file. A relative target is relative to the root.

        Raises:
            FileExistsError, FileNotFoundError
        """
        with (
            self._place(path, create=True) as (walk, name),
            self._place(target, create=False) as (other, other_name),
        ):
            self._require_name(path, name, walk)
            self._require_name(target, other_name, other)
            assert name is not None
            assert other_name is not None
            with _named(path):
                os.link(other_name, name, src_dir_fd=other.here, dst_dir_fd=walk.here, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove whatever is at ``path``, with all that is in it; links are not followed. Absence is fine."""
        with self._place(path, create=False) as (walk, name), _named(path):
            if walk.missing:
                return
            if name is None:
                raise OSError(errno.EBUSY, "the root itself cannot be removed", path)
            try:
                os.unlink(name, dir_fd=walk.here)
            except FileNotFoundError:
                return
            except IsADirectoryError:
                import shutil  # noqa: PLC0415 - brings every compression there is along

                shutil.rmtree(name, dir_fd=walk.here)

    def remove_durably(self, path: str) -> None:
        """:meth:`remove` that has reached the disk when it returns."""
        self.remove(path)
        with self._place(path, create=False) as (walk, _), _named(path):
            _sync(".", walk.here)

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        """Change the owner of the thing itself, not of what a link points to. -1 leaves one as it is."""
        with self._place(path, create=False) as (walk, name), _named(path):
            self._require_name(path, name, walk)
            assert name is not None
            if os.geteuid() == 0:
                os.chown(name, uid, gid, dir_fd=walk.here, follow_symlinks=False)

    def set_mode(self, path: str, mode: int) -> None:
        """Change the mode of a file or directory that is no link."""
        with self._place(path, create=False) as (walk, name), _named(path):
            self._require_name(path, name, walk)
            assert name is not None
            # Through the descriptor: fchmodat has no way not to follow a link on older kernels.
            fd = os.open(name, _WALK, dir_fd=walk.here)
            try:
                if stat.S_ISLNK(os.fstat(fd).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101 - the descriptor's own file
            finally:
                os.close(fd)

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns."""
        os.sync()

    # --- walking ---

    @contextlib.contextmanager
    def _place(self, path: str, *, create: bool) -> Iterator[tuple[_Walk, str | None]]:
        """The directory that holds ``path``, open, and the last name; ``None`` for the root itself.

        With ``create`` directories on the way are made. Without, a missing one ends the walk: the directory
        is then the last that exists, and :attr:`_Walk.missing` says what is not there.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        name = parts.pop() if parts else None
        if name == "..":
            parts.append(name)
            name = None
        walk = _Walk(self._fd)
        try:
            with _named(path):
                self._descend(walk, parts, create=create)
            yield walk, name
        finally:
            walk.close()

    def _descend(self, walk: _Walk, parts: list[str], *, create: bool) -> None:
        pending = deque(parts)
        links = 0
        while pending:
            part = pending.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                walk.up()
                continue
            if walk.missing:
                walk.missing.append(part)
                continue
            try:
                fd = os.open(part, _WALK, dir_fd=walk.here)
            except FileNotFoundError:
                if not create:
                    walk.missing.append(part)
                    continue
                _make_directory(part, walk.here, DIRECTORY_MODE)
                fd = os.open(part, _WALK, dir_fd=walk.here)
            kind = os.fstat(fd).st_mode
            if stat.S_ISDIR(kind):
                walk.open.append(fd)
                walk.names.append(part)
                continue
            target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(kind) else None
            os.close(fd)
            if target is None:
                raise NotADirectoryError(errno.ENOTDIR, f"'{walk.path.rstrip('/')}/{part}' is not a directory")
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many links, or links that point at each other")
            if target.startswith("/"):
                walk.to_root()
            pending.extendleft(reversed(target.split("/")))

    def _follow(self, path: str) -> Seen:
        """Like :meth:`see`, but through links at the end as well."""
        for _ in range(_MAX_LINKS):
            seen = self.see(path)
            if seen.target is None:
                return seen
            above = seen.path.rpartition("/")[0]
            path = seen.target if seen.target.startswith("/") else f"{above}/{seen.target}"
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def _read_only_at(self, directory: int, name: str, there: os.stat_result) -> bool:
        """A directory can be the top of another filesystem than the one it is in."""
        if not stat.S_ISDIR(there.st_mode):
            return _is_read_only(directory)
        fd = os.open(name, _WALK, dir_fd=directory)
        try:
            return _is_read_only(fd)
        finally:
            os.close(fd)

    @staticmethod
    def _require_name(path: str, name: str | None, walk: _Walk) -> None:
        if name is None:
            raise IsADirectoryError(errno.EISDIR, "this is the root or ends in '..'", path)
        if walk.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _make_directory(name: str, directory: int, mode: int) -> None:
    """mkdir with exactly this mode, whatever the umask."""
    os.mkdir(name, 0o700, dir_fd=directory)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _sync(name: str, directory: int) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _own(fd: int, uid: int, gid: int) -> None:
    # An ordinary user can only ever own what it makes itself.
    if os.geteuid() == 0:
        os.fchown(fd, uid, gid)


def _is_read_only(fd: int) -> bool:
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors name the path the caller gave, not a component of it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
