"""Files of ``/etc`` that a machine has changed, and a new version of its image as well."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path

from firstboot.config.digests import sha256
from firstboot.config.machine_words import ETC_UPPER
from firstboot.config.named_tuple import NamedTuple

BOTH_SIDES = "/var/lib/update/drift.json"
GONE = "gone"


class BothSides(NamedTuple):
    """What both have changed.

    Attributes:
        version: the version whose files are meant.
        source: the one before.
        paths: how the machine's own looked when that was noticed, by path; what looks otherwise by now, somebody has
            seen to.
    """

    version: str
    source: str
    paths: Mapping[str, str]


def read_both_sides(root: Path, version: str) -> BothSides | None:
    """What was noted of the version that runs, without what somebody has seen to since.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    try:
        data = json.loads((root / BOTH_SIDES.lstrip("/")).read_bytes())
    except FileNotFoundError:
        return None
    try:
        if data["version"] != version:
            return None
        paths = {path: own for path, own in data["paths"].items() if hash_own(root, path) == own}
        return BothSides(data["version"], data["source"], paths)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{BOTH_SIDES} is not what this version writes: {error!r}") from None


def hash_own(root: Path, path: str) -> str:
    """How this machine's own looks, if it has one in the place of the image's."""
    return hash_path(root / ETC_UPPER.lstrip("/") / path.removeprefix("/etc/"))


def hash_path(path: Path) -> str:
    """How a file or link looks, in a word. What an overlay has for something that was removed is ``gone``, too.

    Raises:
        OSError
    """
    try:
        there = path.lstat()
    except FileNotFoundError:
        return GONE
    try:
        if stat.S_ISLNK(there.st_mode):
            return f"link to {path.readlink()}"
        if stat.S_ISREG(there.st_mode):
            rights = f"{stat.S_IMODE(there.st_mode):04o} {there.st_uid}:{there.st_gid}"
            return f"{rights} {sha256(path.read_bytes()).hexdigest()}"
    except PermissionError:
        # Services of the system see no files that others have closed.
        return f"{there.st_size} bytes"
    return GONE if stat.S_ISCHR(there.st_mode) and there.st_rdev == 0 else "other"
