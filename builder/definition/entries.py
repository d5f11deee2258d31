"""What may lie in a user's overlay or directory of units: files, directories, and links that stay links.

Looked at before anything is read: a pipe would be waited for without end, a device or a sparse file of a terabyte be
read without end, and a template that is a link would carry a file of the building machine into the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from builder.core.console import format_size
from builder.core.once import remember_answer
from builder.definition.findings import shorten_path
from builder.definition.template import TEMPLATE_SUFFIX
from firstboot.config.located import Located, LocatedError, Problem

# Overlays are held in memory until they are written, and more than this does not fit a slot anyway.
MAX_BYTES = 1 << 30
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@remember_answer
def find_entry_problems(directory: Path) -> tuple[LocatedError, ...]:
    """All entries below a directory that cannot be put into an image."""
    return tuple(_check_entries(directory))


def _check_entries(directory: Path) -> Iterator[LocatedError]:
    total = 0
    for where, directories, files in os.walk(directory):
        for name in sorted((*directories, *files)):
            path = Path(where) / name
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if kind in KINDS:
                yield _problem(path, f"{KINDS[kind]} cannot be put into an image", "remove it")
            elif kind == stat.S_IFLNK and name.endswith(TEMPLATE_SUFFIX):
                yield _problem(path, "a template must be a file, and this is a link", "copy the file here")
            elif kind == stat.S_IFREG:
                total += status.st_size
                if total > MAX_BYTES:
                    yield _problem(
                        path,
                        f"with this file of {format_size(status.st_size)}, {shorten_path(directory)} has more than"
                        f" {format_size(MAX_BYTES)}",
                        "large data belongs into a package or onto the state partition",
                    )
                    return


def _problem(path: Path, message: str, hint: str) -> LocatedError:
    return LocatedError(Located(shorten_path(path), "", None, {}, {}), [Problem((), message, hint)])
