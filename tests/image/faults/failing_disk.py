"""A disk that fails now and then: files whose reads and writes end with EIO at random.

Every file that our Python opens goes through ``io.open``, which is replaced. Programs, mapped files and changes of
directories do not.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import threading
from pathlib import Path
from typing import Any


class FailingFile(io.FileIO):
    """A file on such a disk."""

    dice: random.Random
    share: float
    guard = threading.Lock()

    def _fail_sometimes(self) -> None:
        with self.guard:
            failed = self.dice.random() < self.share
        if failed:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self.name if isinstance(self.name, str) else None)

    def readinto(self, buffer: Any) -> int | None:
        self._fail_sometimes()
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._fail_sometimes()
        return super().readall()

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        self._fail_sometimes()
        return super().read(-1 if size is None else size)

    def write(self, data: Any) -> int:
        self._fail_sometimes()
        return super().write(data)


def install(seed: int, share: float, directory: str) -> None:
    """Let a share of the reads and writes of files below a directory fail from now on."""
    FailingFile.dice, FailingFile.share = random.Random(seed), share
    real = io.open

    def where(file: Any) -> str:
        if isinstance(file, int):
            return str(Path(f"/proc/self/fd/{file}").readlink())
        return str(Path(os.fsdecode(file)).absolute())

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        if not where(file).startswith(directory + os.sep) or (isinstance(file, str | Path) and Path(file).is_dir()):
            return real(file, mode, buffering, *rest, **options)
        closefd = options.pop("closefd", True)
        raw = FailingFile(file, mode.replace("b", "").replace("t", ""), closefd)
        if "+" in mode:
            buffered: Any = io.BufferedRandom(raw)
        else:
            buffered = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)

    io.open = builtins.open = opened  # type: ignore[assignment]
