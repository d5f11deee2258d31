"""All or nothing on a running machine: what is about to change is kept first, and put back if anything fails.

What is kept lies on the disk, so that a run that was cut short by the plug is undone by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from firstboot.apply.action import Action, Machine
from firstboot.apply.durable import sync
from firstboot.apply.files import MakeDirectory, MakeHardLink, MakeLink, WriteFile
from firstboot.apply.root import Root
from firstboot.apply.units import PRESET, Mask, Systemctl, Unmask, WritePreset, WriteUnit
from firstboot.apply.users import RunProgram, WriteKeys
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.named_tuple import NamedTuple
from firstboot.engine.record import find_keys_path
from firstboot.places import UNDO

INDEX = f"{UNDO}/index.json"
# What the shadow package's programs change (useradd(8)).
_TABLES = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
ACCOUNTS = tuple(f"/etc/{name}{end}" for name in _TABLES for end in ("", "-"))
Row = dict[str, Any]


class ChangedPath(NamedTuple):
    """A path that will change; ``whole`` with all that is in it, should it be a directory."""

    path: str
    whole: bool = False


@contextlib.contextmanager
def undo_if_it_fails(actions: Sequence[Action], machine: Machine) -> Iterator[None]:
    """Keep what the actions will change; put it back if the block raises anything at all.

    Raises:
        OSError: there is no room to keep it; nothing was changed.
    """
    _keep(_touched(actions, machine), machine)
    try:
        yield
    except BaseException as error:
        left = undo(machine)
        machine.names.forget()
        if left:
            raise OSError(f"{error}\n{describe_left(left)}") from error
        raise
    machine.root.remove(UNDO)


def is_pending(root: Root) -> bool:
    """Whether an earlier run was cut short."""
    return root.has(INDEX)


def describe_left(left: Sequence[str]) -> str:
    """Say what :func:`undo` has left."""
    return f"not put back, because a user's link is on the way now: {', '.join(left)}"


def undo(machine: Machine) -> list[str]:
    """Put everything back that was kept. Doing it twice does no harm.

    Returns:
        Paths that were left, because a user has meanwhile made a link there that leads elsewhere. Nobody is to be
        kept from having the rest put back by that.

    Raises:
        OSError
    """
    root = machine.root
    rows: list[Row] = json.loads(root.read(INDEX))
    kept = {row["path"] for row in rows}
    left: dict[str, None] = {}
    for row in rows:
        with _unless_turned_away(row, left):
            for path in [*root.list_below(row["path"])] if row.get("whole") else ():
                if path not in kept:
                    root.remove(path)
    for row in rows:
        with _unless_turned_away(row, left):
            if row["kind"] == "absent" or not _is_directory_still(row, root):
                root.remove(row["path"])
    for row in rows:
        with _unless_turned_away(row, left):
            _restore(row, root)
    sync(machine)
    root.remove(UNDO)
    return [*left]


@contextlib.contextmanager
def _unless_turned_away(row: Row, left: dict[str, None]) -> Iterator[None]:
    """Go on with the rest where a user's link is on the way."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOLINK:
            raise
        left[row["path"]] = None


def _is_directory_still(row: Row, root: Root) -> bool:
    return row["kind"] == "directory" and root.see(row["path"]).is_directory


def _restore(row: Row, root: Root) -> None:
    path = row["path"]
    match row["kind"]:
        case "directory":
            root.make_directory(path, row["mode"], uid=row["uid"], gid=row["gid"])
            root.change(path, uid=row["uid"], gid=row["gid"], mode=row["mode"])
        case "link":
            root.make_symlink(path, row["target"], uid=row["uid"], gid=row["gid"])
        case "file":
            data = root.read(f"{UNDO}/{row['data']}")
            root.write(path, data, mode=row["mode"], uid=row["uid"], gid=row["gid"])
        case _:
            pass  # it was not there


def _keep(places: Iterable[ChangedPath], machine: Machine) -> None:
    root = machine.root
    rows: dict[str, Row] = {}
    root.remove(UNDO)
    for directory in (UNDO.rpartition("/")[0], UNDO):
        root.make_directory(directory, 0o700)
    for place in places:
        row = _row(place.path, root)
        for entry in (row, *(_row(path, root) for path in (root.list_below(row["path"]) if place.whole else ()))):
            rows.setdefault(entry["path"], entry)
        if place.whole:
            rows[row["path"]]["whole"] = True
    for number, row in enumerate(rows.values()):
        if row["kind"] == "file":
            row["data"] = str(number)
            root.write(f"{UNDO}/{number}", root.read(row["path"], follow=False), mode=0o600)
    sync(machine)
    # Last: without it there is nothing to undo.
    root.write_durably(INDEX, json.dumps([*rows.values()]).encode(), mode=0o600)


def _row(path: str, root: Root) -> Row:
    """What is at a path; of what is not there, the highest directory that is not."""
    seen = root.see(path)
    there = seen.stat
    if there is None:
        return {"path": _highest_missing(seen.path, root), "kind": "absent"}
    row: Row = {"path": seen.path, "mode": there.st_mode & 0o7777, "uid": there.st_uid, "gid": there.st_gid}
    if seen.target is not None:
        return {**row, "kind": "link", "target": seen.target}
    return {**row, "kind": "file" if seen.is_file else "directory" if seen.is_directory else "other"}


def _highest_missing(path: str, root: Root) -> str:
    above = path.rpartition("/")[0]
    while above and root.see(above).stat is None:
        path, above = above, above.rpartition("/")[0]
    return path


def _touched(actions: Sequence[Action], machine: Machine) -> Iterator[ChangedPath]:
    """The places that actions may change."""
    for action in actions:
        match action:
            case MakeDirectory():
                yield ChangedPath(action.path, whole=action.clear)
            case WriteFile() | MakeLink() | MakeHardLink() | WriteUnit():
                # What is replaced may be a directory.
                yield ChangedPath(action.path, whole=True)
            case Mask() | Unmask():
                yield ChangedPath(f"{UNIT_DIRECTORY}/{action.name}")
            case WritePreset():
                yield ChangedPath(PRESET)
            case Systemctl():
                yield ChangedPath(UNIT_DIRECTORY, whole=True)
            case RunProgram():
                yield from _accounts(action, machine)
            case WriteKeys():
                path = find_keys_path(action.user, machine.root, machine.names)
                if path is not None:  # otherwise the user is made by now, with a home
                    yield ChangedPath(path)
            case _:
                path = getattr(action, "path", None)
                if isinstance(path, str):
                    yield ChangedPath(path, whole=True)


def _accounts(action: RunProgram, machine: Machine) -> Iterator[ChangedPath]:
    argv = action.argv
    for path in ACCOUNTS:
        yield ChangedPath(path)
    options = dict(pairwise(argv))
    account = machine.names.users.get(argv[-1])
    if argv[0] == "useradd":
        yield ChangedPath(options.get("--home-dir") or action.home or f"/home/{argv[-1]}")
    elif account is not None and ("--remove" in argv or "--move-home" in argv):
        yield ChangedPath(account.home, whole=True)
        if "--home" in options:
            yield ChangedPath(options["--home"])
