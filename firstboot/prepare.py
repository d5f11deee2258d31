"""Whether this boot is a first boot: decided here, once, and followed by every unit of the initrd.

One file on the state partition says how far this machine is, by its name: ``attempt``, ``complete`` or
``factory-reset``. A first boot is begun with the first, and its end, like a factory reset, is a rename, which has
happened or has not. So the state is emptied only where something says that it may be: an attempt that was cut short, a
reset that was asked for, or a partition with nothing on it. That a file cannot be found is no such thing. A second
file, in another directory, is written after the first boot's end, in case an old copy of that directory turns up.

Units have ``ConditionPathExists=``, which cannot tell what is absent from what cannot be read: with it they ask for
:data:`~firstboot.places.FIRST_BOOT`, which is not on a disk.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from firstboot.apply.root import Root
from firstboot.config.lazy import import_lazily
from firstboot.log import Log
from firstboot.places import ATTEMPT, FIRST_BOOT, MARKER, RESET, STATE, STATE_VAR, WITNESS, Places, has_own_var

if TYPE_CHECKING:
    import json

    from firstboot import report
else:
    report = import_lazily("firstboot.report")
    json = import_lazily("json")

_DIRECTORY = MARKER.rpartition("/")[0]
_LOST = f"{STATE}/lost+found"
_UPPER = f"{STATE}/etc/upper"

_UNREADABLE: tuple[str, ...] = (
    "Nothing was changed. Start the machine again: what is wrong is noted on the partition, which is then checked.",
    "If that does not help, look at the partition 'state' from another machine: with e2fsck -f, and at its disk.",
)
_UNCLEAR: tuple[str, ...] = (
    "Nothing was changed. Look at the partition 'state' from another machine, also into its lost+found.",
    "If all is there, put an empty file firstboot/complete on it, and this machine starts as it was.",
    "To lose what is there and begin anew, put an empty file firstboot/factory-reset on it.",
)


class UnclearState(Exception):
    """Nothing says that the state may be emptied, and it is not that of a machine that a first boot has made."""


def prepare(places: Places, log: Log) -> int:
    """Decide whether this is a first boot; if so, begin it with an empty state.

    Returns:
        The exit status: 0 decided, 1 the machine has to stop, and the console says why.
    """
    with Root(places.root) as root:
        try:
            if is_first_boot(root, log):
                root.write(FIRST_BOOT, b"", mode=0o600)
            return 0
        except UnclearState as error:
            text, advice = str(error), _UNCLEAR
        except OSError as error:
            text, advice = _unreadable(error), _UNREADABLE
    log.complain(text)
    screen = report.render_screen(text, advice, report.STOPPED)
    report.show_on_console(places, screen)
    event = {"event": "finished", "result": "failed", "message": text.splitlines()[0], "screen": screen}
    report.Port(places).send(event)
    return 1


def is_first_boot(root: Root, log: Log) -> bool:
    """Look, and make everything ready for a first boot if this is one, or one that goes on.

    Raises:
        UnclearState: neither it is one, nor a later boot of a machine that is whole.
        OSError: that cannot be seen.
    """
    attempt, complete, reset, witness = (_is_there(root, path) for path in (ATTEMPT, MARKER, RESET, WITNESS))
    if reset:
        log.note("a factory reset was asked for: everything on the state partition is removed")
        root.remove_durably(WITNESS)
        root.write_durably(ATTEMPT, _new_attempt(), mode=0o600)
        root.remove_durably(MARKER)
        root.remove_durably(RESET)
    elif complete:
        # Every machine has these but one with a /var of its own: that has the unit which mounts it.
        missing = [path for path in (STATE_VAR, _UPPER) if not _is_there(root, path)]
        if missing and not (missing == [STATE_VAR] and has_own_var(root)):
            gone = _shown(missing[0])
            raise UnclearState(f"a first boot has made this machine, but {gone} is gone from its state partition")
        root.make_directory(f"{STATE}/etc/work")
        root.write_durably(WITNESS, root.read(MARKER), mode=0o600)
        return False
    elif witness:
        raise UnclearState(f"a first boot has made this machine, but {_shown(MARKER)} is gone from its state partition")
    elif attempt:
        log.note("the first boot was cut short: what it has left is removed")
    else:
        if unexpected := next(_contents(root), None):
            raise UnclearState(
                f"the state partition is not empty ({_shown(unexpected)}), and there is no {_shown(MARKER)},"
                " nor a mark of a first boot that was begun"
            )
        root.set_mode(STATE, 0o700)
        root.make_directory(_DIRECTORY, 0o700)
        root.write_durably(ATTEMPT, _new_attempt(), mode=0o600)
    _empty(root)
    # What is kept for one machine is nobody else's: host keys in /etc/upper among it.
    root.set_mode(STATE, 0o700)
    for path in ("etc/upper", "etc/work", "var"):
        root.make_directory(f"{STATE}/{path}")
    return True


def read_attempt(root: Root) -> str:
    """What tells this first boot, with all its beginnings, from every other one; empty if it was not begun by us."""
    noted = _noted(root).get("attempt")
    return noted if isinstance(noted, str) else ""


def list_made_by_attempt(root: Root) -> frozenset[str]:
    """UUIDs of the filesystems that this first boot has made, also before it was cut short."""
    noted = _noted(root).get("made")
    return frozenset(path for path in noted if isinstance(path, str)) if isinstance(noted, list) else frozenset()


def note_made(root: Root, uuid: str) -> None:
    """Note that it has made a filesystem, before anything is written to that. Its end replaces the note.

    Raises:
        OSError
    """
    noted = _noted(root)
    if noted:
        noted["made"] = sorted({*list_made_by_attempt(root), uuid})
        root.write_durably(ATTEMPT, json.dumps(noted).encode() + b"\n", mode=0o600)


def _noted(root: Root) -> dict[str, Any]:
    try:
        data = json.loads(root.read(ATTEMPT))
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _new_attempt() -> bytes:
    return f'{{"attempt": "{os.urandom(8).hex()}"}}\n'.encode()


def _is_there(root: Root, path: str) -> bool:
    """Whether something is there. That it cannot be seen is not that it is absent.

    Raises:
        OSError
    """
    return root.see(path).stat is not None


def _contents(root: Root) -> Iterator[str]:
    """Everything on the state partition but the directories that are there before anything is: ``firstboot`` and
    ``lost+found``, of which it is what is in them.
    """
    for name in root.list_names(STATE):
        path = f"{STATE}/{name}"
        if path in (_DIRECTORY, _LOST):
            yield from (f"{path}/{name}" for name in root.list_names(path))
        else:
            yield path


def _empty(root: Root) -> None:
    """Remove everything but the mark of the attempt."""
    for path in _contents(root):
        if path != ATTEMPT:
            root.remove(path)


def _shown(path: str) -> str:
    return path.removeprefix(f"{STATE}/")


def _unreadable(error: OSError) -> str:
    where = f" {_shown(error.filename)}:" if isinstance(error.filename, str) else ""
    code = errno.errorcode.get(error.errno or 0, "")
    return f"the state partition cannot be used:{where} {error.strerror or error}" + (f" ({code})" if code else "")
