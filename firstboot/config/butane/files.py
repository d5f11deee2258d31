"""The files beside a config: what ``local`` settings name."""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path


class NoLocalFile(ValueError):
    """A local file cannot be had; the text says why."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class LocalFiles:
    """The directory that local paths are relative to, if there is one.

    A path cannot lead out of it by ``..``; links in it are followed wherever they lead, as the directory is the
    user's own.
    """

    def __init__(self, directory: Path | None, *, hint: str = "name their directory with --files-dir DIR") -> None:
        self.directory = directory
        self.hint = hint

    def find(self, local: str) -> Path:
        """Where a local path leads.

        Raises:
            NoLocalFile: there is no directory of files, or the path leads out of it.
        """
        if self.directory is None:
            raise NoLocalFile("there are no files beside this config", self.hint)
        inside = posixpath.normpath(local.lstrip("/") or ".")
        if inside == ".." or inside.startswith("../") or "\0" in inside:
            raise NoLocalFile(f"'{local}' leads out of the files directory")
        return self.directory / inside

    def read(self, local: str) -> bytes:
        """The bytes of a local file.

        Raises:
            NoLocalFile
        """
        path = self.find(local)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(fd, "rb") as file:  # noqa: PTH123 - of a descriptor: a fifo must not be waited for
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise NoLocalFile(f"'{local}' is not a file")
                return file.read()
        except OSError as error:
            raise NoLocalFile(f"'{local}' cannot be read: {error.strerror}") from None


ON_THE_MACHINE = LocalFiles(None, hint="write the contents inline, or compile it first: 'build-os config compile'")
