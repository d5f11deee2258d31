"""Files that are either whole or absent: written beside their destination and renamed into place.

What a user was told is there, and what is taken for whole by its name, is durable as well: on the disk before we say
so, or a power cut leaves an empty file under a good name (ext4(5) on ``auto_da_alloc``, rename(2) promises no order).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
# What open(2) answers to O_TMPFILE where the file system, or the kernel, does not know it.
NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
# What fsync(2) answers for a directory where the file system has no such thing.
NO_DIRECTORY_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)


@contextmanager
def open_replacement(path: Path, *, mode: int = 0o644, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a new version of ``path`` for writing; it appears under its name only if the block succeeds.

    Until then it has no name at all where the file system can do that (``O_TMPFILE``, open(2)), so that a killed
    build leaves nothing to sweep up where nothing is replaced.

    Args:
        durable: content and name are on the disk when the block has ended, so that a power cut leaves the old file
            or the new one.

    Raises:
        OSError: the directory cannot be written, the disk is full or fails.
    """
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    try:
        with _open_new(beside) as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durable:
                os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_nlink:
                beside.replace(path)
            elif not _give_name(file, path):
                # For this moment it has a name that a killed build leaves behind: linkat(2) cannot replace.
                _give_name(file, beside)
                beside.replace(path)
            if durable:
                sync_names(path.parent, *(parent.parent for parent in made))
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _open_new(beside: Path) -> BinaryIO:
    """A new file in the directory of ``beside``: without a name if that is possible, else with that one."""
    try:
        descriptor = os.open(beside.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in NO_TMPFILE:
            raise
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w+b")


def _give_name(file: BinaryIO, path: Path) -> bool:
    """Link a file without a name to ``path``, unless there is something."""
    # Relative to a descriptor, because only then os.link is linkat(2), which can follow /proc's link.
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    finally:
        os.close(directory)
    return True


def write_file(path: Path, data: bytes | str, *, mode: int = 0o644, durable: bool = False) -> None:
    """Replace ``path`` by ``data`` in one step; see :func:`open_replacement`."""
    with open_replacement(path, mode=mode, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def read_bounded(path: Path, limit: int) -> bytes:
    """A file that somebody else wrote, which has no reason to be large; ``limit`` in bytes.

    Raises:
        OSError: it cannot be read, or is larger; ``strerror`` says why.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 10} KiB", str(path))
    return data


def sync_content(path: Path) -> None:
    """Wait until what was written to a file, by whomever, is on the disk (fsync(2)).

    Raises:
        OSError: the disk failed.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_names(*directories: Path) -> None:
    """Wait until what was renamed into directories, or removed, is so on the disk (fsync(2)).

    Raises:
        OSError: the disk failed.
    """
    for directory in directories:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Wait until all that was written to the file system of ``path`` is on the disk: for many files at once.

    syncfs(2), which says so if the disk failed; sync(2) would not.

    Raises:
        OSError: the disk failed.
    """
    import ctypes  # noqa: PLC0415 - a command that does not build needs it not

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """The file's SHA-256 in lower-case hex. Holes are hashed as the zeros that they are, and not read."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_blocks * 512 >= status.st_size:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, zeros, position = hashlib.sha256(), memoryview(bytes(CHUNK)), 0
        while position < status.st_size:
            data = _next_data(file.fileno(), position, status.st_size)
            for start in range(position, data, CHUNK):
                digest.update(zeros[: min(CHUNK, data - start)])
            end = os.lseek(file.fileno(), data, os.SEEK_HOLE) if data < status.st_size else data
            file.seek(data)
            while data < end and (piece := file.read(min(CHUNK, end - data))):
                digest.update(piece)
                data += len(piece)
            position = end
        return digest.hexdigest()


def _next_data(descriptor: int, position: int, size: int) -> int:
    """Where the next bytes that are not a hole begin, or the end."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
