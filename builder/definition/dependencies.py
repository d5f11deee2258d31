"""Files in directories ``UNIT.wants/`` and ``UNIT.requires/`` of an overlay (systemd.unit(5)).

systemd takes links there, and an empty file for "not this one". Any other file it ignores, with a line in the machine's
journal that nobody reads. Copying a tree without its links (an archive, a wheel, a file share) makes such files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.core.once import remember_answer
from builder.definition.findings import shorten_path
from builder.definition.template import TEMPLATE_SUFFIX
from firstboot.config.located import Located, LocatedError, Problem

UNIT_DIRECTORIES = tuple(
    f"{place}/systemd/{whose}" for place in ("etc", "lib", "usr/lib", "usr/local/lib") for whose in ("system", "user")
)
KINDS = (".wants", ".requires", ".upholds")


@remember_answer
def find_dependency_problems(overlay: Path) -> tuple[LocatedError, ...]:
    """All files of an overlay that look as if they started a unit, and do not."""
    return tuple(_check_directories(overlay))


def _check_directories(overlay: Path) -> Iterator[LocatedError]:
    for place in UNIT_DIRECTORIES:
        for path in sorted((overlay / place).glob("*/*")):
            if path.parent.suffix in KINDS and not path.is_symlink() and (path.is_dir() or path.stat().st_size):
                yield _problem(path)


def _problem(path: Path) -> LocatedError:
    name = path.name.removesuffix(TEMPLATE_SUFFIX)
    message = f"systemd takes only links in a directory *{path.parent.suffix}, and would ignore this"
    hint = (
        f"make it a link to the unit, or leave it out and give {name} an [Install] section; 'presets' then enables it"
    )
    return LocatedError(Located(shorten_path(path), "", None, {}, {}), [Problem((), message, hint)])
