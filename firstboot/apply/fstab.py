"""A line for ``/var`` in fstab(5), which a machine of ours would pass over without a word."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from firstboot.apply.contents import Fetched, get_contents, read_pieces
from firstboot.config.models import Config
from firstboot.config.resource import BadResource
from firstboot.config.text import Problem

FSTAB = "/etc/fstab"


def check_fstab(config: Config, fetched: Fetched) -> Iterator[Problem]:
    """The initrd has mounted ``/var`` before anybody reads the file."""
    for index, file in enumerate(config.storage.files):
        if file.path != FSTAB:
            continue
        try:
            text = b"".join(read_pieces(*(get_contents(part, fetched) for part in (file.contents, *file.append))))
        except BadResource:
            continue  # said where the file is planned
        if any(_mounts_var(line) for line in text.decode("utf-8", "replace").splitlines()):
            hint = "describe it in storage.filesystems, with 'path: /var' and 'with_mount_unit: true'"
            message = f"{FSTAB} cannot give the machine another /var: it is mounted before the file is read"
            yield Problem(("storage", "files", index, "path"), message, hint)


def _mounts_var(line: str) -> bool:
    fields = line.split()
    return len(fields) > 1 and not fields[0].startswith("#") and posixpath.normpath(fields[1]) == "/var"
