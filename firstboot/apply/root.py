"""The one door for writes: a directory that no path can lead out of.

Paths are absolute inside the root. Links in the middle of a path are followed as if the root were ``/``, the
last component is never followed, ``..`` stops at the root. This is done with directory file descriptors and
``O_NOFOLLOW``, one component at a time, so what was looked at is what is written to. Where a user's link leads to what
is not that user's, nothing is written (:mod:`firstboot.apply.walk`). The same code runs on ``/``, on ``/sysroot`` and
on a directory in a test.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from firstboot.apply.walk import DIRECTORY_MODE, OPEN, Walk, change_owner, make_directory, require_made
from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple

if TYPE_CHECKING:
    import shutil
else:
    shutil = import_lazily("shutil")


class Seen(NamedTuple):
    """What is at a path now.

    Attributes:
        path: where it really is, with the links on the way resolved.
        stat: of the thing itself (a link is not followed); ``None`` if it is not there.
        target: where it points, if it is a symbolic link.
        read_only: it, or the nearest directory above it that exists, is on a read-only filesystem.
        unsafe: why nothing may be written there, if a user's link led there.
    """

    path: str
    stat: os.stat_result | None
    target: str | None
    read_only: bool
    unsafe: str = ""

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


class Root:
    """A directory tree to write to.

    Every method takes paths inside the root and raises ``OSError`` as the system call it stands for does,
    with the path inside the root as its file name. Those that write raise ENOLINK where a link led that a user could
    have made, and the directory is not that user's.
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

    def see(self, path: str, *, follow: bool = False) -> Seen:
        """What is at ``path``. A missing directory on the way is no error, a file on the way is.

        Args:
            follow: also a link at the end.

        Raises:
            NotADirectoryError, OSError (ELOOP, EACCES)
        """
        with self._place(path, follow=follow) as (walk, name), _named(path):
            why = walk.explain_unsafe()
            if name is None:
                there = None if walk.missing else os.fstat(walk.here)
                return Seen(walk.path, there, None, _is_read_only(walk.here), why)
            where = walk.path.rstrip("/") + "/" + name
            if walk.missing:
                return Seen(where, None, None, _is_read_only(walk.here), why)
            try:
                there = os.stat(name, dir_fd=walk.here, follow_symlinks=False)
                target = os.readlink(name, dir_fd=walk.here) if stat.S_ISLNK(there.st_mode) else None
            except FileNotFoundError:
                return Seen(where, None, None, _is_read_only(walk.here), why)
            return Seen(where, there, target, self._read_only_at(walk.here, name, there), why)

    def has(self, path: str) -> bool:
        """Whether ``path`` leads to something, following a link at its end."""
        return self.see(path, follow=True).stat is not None

    def resolve(self, path: str) -> str:
        """Where ``path`` leads, following a link at its end, whether or not there is something."""
        return self.see(path, follow=True).path

    def read(self, path: str, *, follow: bool = True) -> bytes:
        """The content of a regular file.

        Raises:
            OSError: it is not there, or not a regular file.
        """
        with self._place(path, follow=follow) as (walk, name):
            self._require_name(path, name, walk)
            assert name is not None
            with _named(path):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=walk.here)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file", path)
                return file.read()

    def list_names(self, path: str) -> list[str]:
        """What is in a directory, by name.

        Raises:
            OSError: it is not there, or no directory.
        """
        with self._place(path) as (walk, name), _named(path):
            self._require_name(path, name, walk)
            assert name is not None
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.here)
            try:
                return sorted(os.listdir(fd))  # noqa: PTH208 - a descriptor has no path
            finally:
                os.close(fd)

    def list_below(self, path: str) -> Iterator[str]:
        """Everything in a directory, parents first, by its real path; links are not followed. Nothing if it is none."""
        with self._place(path) as (walk, name):
            if walk.missing:
                return
            top = walk.path.rstrip("/") + ("" if name is None else f"/{name}")
            try:
                fd = os.open(name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.here)
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                if error.errno == errno.ELOOP:  # a link
                    return
                raise
            try:
                for directory, names, files, _ in os.fwalk(".", dir_fd=fd):
                    inside = top + directory[1:]
                    yield from (f"{inside}/{child}" for child in (*sorted(names), *sorted(files)))
            finally:
                os.close(fd)

    # --- writing ---

    def make_directory(
        self, path: str, mode: int = DIRECTORY_MODE, *, uid: int = 0, gid: int = 0, follow: bool = False
    ) -> None:
        """Make a directory and those above it that are missing (0755, root's). One that is there stays as it is.

        Args:
            follow: also through a link at the end, to where it leads.

        Raises:
            FileExistsError: something else is there.
        """
        with self._place(path, create=True, follow=follow) as (walk, name):
            if name is None:
                return
            with _named(path):
                try:
                    there = os.stat(name, dir_fd=walk.here, follow_symlinks=False)
                except FileNotFoundError:
                    walk.require_safe()
                    os.close(make_directory(name, walk.here, mode, uid, gid))
                else:
                    if not stat.S_ISDIR(there.st_mode):
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

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
        with self._place_to_write(path, create=True) as (walk, name):
            temporary = f".firstboot-{os.urandom(6).hex()}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=walk.here)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.writelines([data] if isinstance(data, bytes) else data)
                    file.flush()
                    change_owner(fd, uid, gid)
                    os.fchmod(fd, mode)  # after the owner: changing that clears setuid and setgid
                os.rename(temporary, name, src_dir_fd=walk.here, dst_dir_fd=walk.here)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=walk.here)
                raise

    def write_durably(self, path: str, data: bytes, *, mode: int) -> None:
        """:meth:`write` that has reached the disk, name and all, when it returns."""
        self.write(path, data, mode=mode)
        with self._place(path) as (walk, name), _named(path):
            assert name is not None
            for entry in (name, "."):
                _sync(entry, walk.here)

    def append(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Add to the end of a regular file that is there."""
        with self._place_to_write(path) as (walk, name):
            fd = os.open(
                name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=walk.here
            )
            with os.fdopen(fd, "ab") as file:
                there = os.fstat(fd)
                if not stat.S_ISREG(there.st_mode):
                    raise OSError(errno.EINVAL, "not a regular file")
                walk.require_own(there)
                file.writelines([data] if isinstance(data, bytes) else data)

    def make_symlink(self, path: str, target: str, *, uid: int = 0, gid: int = 0) -> None:
        """Make a symbolic link. The target is any text and is not looked at.

        Raises:
            FileExistsError
        """
        with self._place_to_write(path, create=True) as (walk, name):
            os.symlink(target, name, dir_fd=walk.here)
            if (uid, gid) != (0, 0) and os.geteuid() == 0:
                with _opened(name, walk) as fd:
                    require_made(fd)
                    os.chown(_link_to(fd), uid, gid)

    def make_hard_link(self, path: str, target: str) -> None:
        """Make another name for a file. A relative target is relative to the root.

        Raises:
            FileExistsError, FileNotFoundError
        """
        with (
            self._place_to_write(target) as (other, other_name),
            self._place_to_write(path, create=True) as (walk, name),
        ):
            os.link(other_name, name, src_dir_fd=other.here, dst_dir_fd=walk.here, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove whatever is at ``path``, with all that is in it; links are not followed. Absence is fine."""
        with self._place(path) as (walk, name), _named(path):
            if walk.missing:
                return
            if name is None:
                raise OSError(errno.EBUSY, "the root itself cannot be removed", path)
            walk.require_safe()
            try:
                os.unlink(name, dir_fd=walk.here)
            except FileNotFoundError:
                return
            except IsADirectoryError:
                shutil.rmtree(name, dir_fd=walk.here)

    def remove_durably(self, path: str) -> None:
        """:meth:`remove` that has reached the disk when it returns."""
        self.remove(path)
        with self._place(path) as (walk, _), _named(path):
            _sync(".", walk.here)

    def rename_durably(self, path: str, name: str) -> None:
        """Give a file another name in its directory, in place of a file that has it; on the disk when it returns."""
        with self._place_to_write(path) as (walk, old):
            os.rename(old, name, src_dir_fd=walk.here, dst_dir_fd=walk.here)
            _sync(".", walk.here)

    def set_mode(self, path: str, mode: int) -> None:
        """Change the mode of a file or directory that is no link."""
        self.change(path, mode=mode)

    def change(self, path: str, *, uid: int = -1, gid: int = -1, mode: int | None = None) -> None:
        """Change owner and mode of one and the same thing; a link has no mode. -1 leaves an owner as it is.

        Raises:
            OSError: ELOOP: it is a link and should have a mode. ENOLINK: a user could have put it there.
        """
        with self._place_to_write(path) as (walk, name), _opened(name, walk) as fd:
            there = os.fstat(fd)
            walk.require_own(there)
            if mode is not None and stat.S_ISLNK(there.st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if mode is not None and mode & 0o6000 and stat.S_ISREG(there.st_mode) and there.st_uid in walk.others:
                given = uid not in (-1, there.st_uid) or gid not in (-1, there.st_gid)
                if given:
                    raise OSError(
                        errno.ENOLINK, f"it is a program of user {there.st_uid}, which would run as somebody else"
                    )
            if (uid, gid) != (-1, -1) and os.geteuid() == 0:
                os.chown(_link_to(fd), uid, gid)
            if mode is not None:  # after the owner: changing that clears setuid and setgid
                os.chmod(_link_to(fd), mode)  # noqa: PTH101 - the descriptor's own file

    # --- walking ---

    @contextlib.contextmanager
    def _place(self, path: str, *, create: bool = False, follow: bool = False) -> Iterator[tuple[Walk, str | None]]:
        """The directory that holds ``path``, open, and the last name; ``None`` for that directory itself.

        With ``create`` directories on the way are made. Without, a missing one ends the walk: the directory
        is then the last that exists, and :attr:`Walk.missing` says what is not there.
        """
        walk = Walk(self._fd)
        try:
            with _named(path):
                name: str | None = None
                parts: list[str] | None = path.split("/")
                while parts is not None:
                    parts = [part for part in parts if part not in ("", ".")]
                    name = parts.pop() if parts else None
                    if name == "..":
                        parts.append(name)
                        name = None
                    walk.descend(parts, create=create)
                    parts = walk.follow_last(name) if follow and name is not None else None
            yield walk, name
        finally:
            walk.close()

    @contextlib.contextmanager
    def _place_to_write(self, path: str, *, create: bool = False) -> Iterator[tuple[Walk, str]]:
        """:meth:`_place` where something may be written; errors are about ``path``."""
        with self._place(path, create=create) as (walk, name):
            self._require_name(path, name, walk)
            assert name is not None
            with _named(path):
                walk.require_safe()
                yield walk, name

    def _read_only_at(self, directory: int, name: str, there: os.stat_result) -> bool:
        """A directory can be the top of another filesystem than the one it is in."""
        if not stat.S_ISDIR(there.st_mode):
            return _is_read_only(directory)
        fd = os.open(name, OPEN, dir_fd=directory)
        try:
            return _is_read_only(fd)
        finally:
            os.close(fd)

    @staticmethod
    def _require_name(path: str, name: str | None, walk: Walk) -> None:
        if name is None:
            raise IsADirectoryError(errno.EISDIR, "this is the root or ends in '..'", path)
        if walk.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


@contextlib.contextmanager
def _opened(name: str, walk: Walk) -> Iterator[int]:
    """The thing itself, be it a link, whatever its mode."""
    fd = os.open(name, OPEN, dir_fd=walk.here)
    try:
        yield fd
    finally:
        os.close(fd)


def _link_to(fd: int) -> str:
    """A path to what is open: fchmod and fchown refuse ``O_PATH``, and by its name it may be another by now."""
    return f"/proc/self/fd/{fd}"


def _sync(name: str, directory: int) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_read_only(fd: int) -> bool:
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors name the path the caller gave, not a component of it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
