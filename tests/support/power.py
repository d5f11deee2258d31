"""What would be left on a disk that loses its power: what fsync(2) was asked for, and nothing else.

The worst that POSIX allows: content that was not synced is gone, and so is a name whose directory was not synced
since it has that name. File systems do better most of the time, which is why nobody notices.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from builder.core import files


class SyncedDisk:
    """Watches what this process syncs. ``order`` has the paths of files, and directories with a slash at their end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self._content: dict[int, bytes] = {}
        self._names: dict[tuple[int, str], int] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._watch)
        for module in list(sys.modules.values()):
            if getattr(module, "sync_file_system", None) is files.sync_file_system and module is not files:
                monkeypatch.setattr(module, "sync_file_system", self.sync_all)
        monkeypatch.setattr(files, "sync_file_system", self.sync_all)

    def _watch(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.order.append(f"{path}/")
            self._sync_names(path)
        else:
            self.order.append(str(path))
            self._content[os.fstat(descriptor).st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def _sync_names(self, directory: Path) -> None:
        here = directory.stat().st_ino
        self._names = {key: inode for key, inode in self._names.items() if key[0] != here}
        self._names |= {(here, entry.name): entry.lstat().st_ino for entry in directory.iterdir()}

    def sync_all(self, path: Path) -> None:
        """As syncfs(2) would, for what is below ``path``."""
        self.order.append(f"all of {path}")
        for directory, _, names in os.walk(path):
            self._sync_names(Path(directory))
            for name in names:
                where = Path(directory, name)
                if where.is_file():
                    self._content[where.stat().st_ino] = where.read_bytes()

    def after_a_power_cut(self, path: Path) -> bytes | None:
        """What a file would have in it; ``None`` if it would have no name."""
        inode = self._names.get((path.parent.stat().st_ino, path.name))
        return None if inode is None else self._content.get(inode, b"")
