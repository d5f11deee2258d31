"""``/etc`` after an update: which files the machine has changed, and the new version as well.

``/etc`` is an overlay: where the machine has a file of its own, nobody sees that the image has another one now. What
the image has is hashed before a version is written, and compared once the new one is good.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path

from firstboot.config.machine_words import ETC_UPPER, OF_THE_MACHINE
from firstboot.drift.both_sides import BOTH_SIDES, GONE, BothSides, hash_path, read_both_sides
from update.agent.host import Host
from update.agent.mounts import mount
from update.agent.state import DIRECTORY, write_file
from update.errors import UpdateError

DEFAULTS = f"{DIRECTORY}/etc.json"
MOUNT_POINT = "/run/update/root"
_SHOWN_BYTES = 256 << 10


def remember_defaults(host: Host, version: str) -> None:
    """Before a new version is written: what the one that runs has in ``/etc``, below what the machine has there.

    Raises:
        UpdateError
    """
    with _mount_root(host) as root:
        defaults = {path: _hash(root / path.lstrip("/")) for path in _list_paths(root / "etc")}
    data = {"version": version, "defaults": defaults}
    write_file(host.locate(DEFAULTS), json.dumps(data).encode())


def note_drift(host: Host, version: str) -> list[str]:
    """A new version is good: what it has in ``/etc`` otherwise than the one before, where the machine has its own.

    Returns:
        All of the machine's files that somebody should look at, those of earlier updates among them.

    Raises:
        UpdateError
    """
    source, defaults = _read_defaults(host)
    if source in ("", version):
        return []
    earlier = read_drift(host, source)
    paths: dict[str, str] = {}
    with _mount_root(host) as root:
        for path in sorted(_list_own(host)):
            own, now = _hash(host.locate(ETC_UPPER + path.removeprefix("/etc"))), _hash(root / path.lstrip("/"))
            was = defaults.get(path, GONE)
            is_open = earlier is not None and path in earlier.paths
            if own != now and (now != was or is_open):
                paths[path] = own
    write_file(host.locate(BOTH_SIDES), json.dumps(BothSides(version, source, paths)._asdict()).encode())
    return list(paths)


def read_drift(host: Host, version: str) -> BothSides | None:
    """What was noted of a version, without what somebody has seen to since.

    Raises:
        UpdateError: it cannot be read.
    """
    try:
        return read_both_sides(host.root, version)
    except (OSError, ValueError) as error:
        raise UpdateError(f"{BOTH_SIDES} cannot be read: {error}") from None


def keep_own(host: Host, both: BothSides, path: str) -> None:
    """The machine's file is right as it is, and nobody needs to look at it any more.

    Raises:
        UpdateError: it is none of those.
    """
    _require(both, path)
    paths = {other: own for other, own in both.paths.items() if other != path}
    write_file(host.locate(BOTH_SIDES), json.dumps(both._replace(paths=paths)._asdict()).encode())


def take_default(host: Host, both: BothSides, path: str) -> None:
    """Replace the machine's file by a copy of the image's, with its owner and mode.

    Raises:
        UpdateError: it is none of those, or nothing that can be copied.
    """
    _require(both, path)
    target = host.locate(path)
    with _mount_root(host) as root:
        source = root / path.lstrip("/")
        fresh = target.with_name(f".{target.name}.update")
        try:
            if not os.path.lexists(source):
                target.unlink()
                return
            there = source.lstat()
            if not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
                raise UpdateError(f"{path} is neither a file nor a link in the image")
            fresh.unlink(missing_ok=True)
            shutil.copy2(source, fresh, follow_symlinks=False)
            os.chown(fresh, there.st_uid, there.st_gid, follow_symlinks=False)
            fresh.replace(target)
        except OSError as error:
            raise UpdateError(f"{path} cannot be replaced: {error.strerror}") from None


def show_difference(host: Host, both: BothSides, path: str) -> str:
    """From the image's file to the machine's, as a unified diff; in words where either is no text.

    Raises:
        UpdateError: it is none of those.
    """
    _require(both, path)
    with _mount_root(host) as root:
        sides = [_read_text(root / path.lstrip("/")), _read_text(host.locate(path))]
    if sides[0] is None or sides[1] is None:
        return f"{path} is not text on both sides\n"
    names = (f"{both.version}{path}", f"machine{path}")
    lines = difflib.unified_diff(sides[0].splitlines(), sides[1].splitlines(), *names, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def describe_drift(paths: Collection[str]) -> str:
    """In a line."""
    count = f"{len(paths)} file{'s' * (len(paths) != 1)}"
    return f"{count} of /etc changed in the image and on this machine: see 'os-update drift'"


def _require(both: BothSides, path: str) -> None:
    if path not in both.paths:
        raise UpdateError(f"{path} is not one of the files that 'os-update drift' lists")


def _list_own(host: Host) -> Iterator[str]:
    """What this machine has in the place of the image's, or has removed."""
    upper = host.locate(ETC_UPPER)
    for path in _list_paths(upper, "/etc"):
        if not any(fnmatchcase(path, pattern) for pattern in OF_THE_MACHINE):
            yield path


def _list_paths(directory: Path, name: str = "/etc") -> Iterator[str]:
    """All that are no directories."""
    for here, directories, files in os.walk(directory):
        below = Path(here).relative_to(directory)
        # os.walk takes links to directories for directories, and does not follow them.
        links = [link for link in directories if (Path(here) / link).is_symlink()]
        yield from (f"{name}/{below / path}" for path in (*files, *links))


def _hash(path: Path) -> str:
    try:
        return hash_path(path)
    except OSError as error:
        raise UpdateError(f"{path} cannot be read: {error.strerror}") from None


def _read_text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(_SHOWN_BYTES + 1)
        return None if len(data) > _SHOWN_BYTES else data.decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return None


def _read_defaults(host: Host) -> tuple[str, dict[str, str]]:
    """The version whose files were hashed, and how they looked; no version where nothing was noted."""
    try:
        data = json.loads(host.locate(DEFAULTS).read_bytes())
        return str(data["version"]), dict(data["defaults"])
    except FileNotFoundError:
        return "", {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UpdateError(f"{DEFAULTS} cannot be read: {error!r}") from None


def _mount_root(host: Host) -> AbstractContextManager[Path]:
    """The image's own root, without what is mounted over its directories."""
    return mount(host, MOUNT_POINT, "--bind", str(host.locate("/")))
