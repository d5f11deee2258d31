"""What people and their tools made in ``/etc``, and which accounts they added: of neither the image nor the config.

``/etc`` is an overlay, so everything that is not the image's lies in one directory. What the first boot itself made
there is in its record; what a machine makes by itself later is named here. ``/var`` is data, and nobody's drift.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase

from firstboot.apply.accounts import Names
from firstboot.apply.root import Root
from firstboot.config.machine_words import OF_THE_MACHINE
from firstboot.config.models import Config
from firstboot.drift.changes import Change, describe_change
from firstboot.engine.record import Record, look, split_upper

TMPFILES = "/usr/lib/tmpfiles.d"
FIRST_PERSON, LAST_PERSON = 1000, 59999


def list_others(record: Record, config: Config, root: Root, names: Names) -> list[Change]:
    """What is in ``/etc`` that neither image nor config made, and accounts of people, in the order of their names."""
    return [*_list_paths(record, config, root), *_list_accounts(record, config, names)]


def _list_paths(record: Record, config: Config, root: Root) -> Iterator[Change]:
    decided = {unit.name for unit in config.systemd.units if unit.enabled is not None}
    now = {path: upper for upper, path in split_upper(root)}
    links = _list_links(root)
    for path in sorted({*now, *record.others}):
        if path in record.entries or any(fnmatchcase(path, pattern) for pattern in OF_THE_MACHINE):
            continue
        if path in now and path in links and root.see(now[path]).target == links[path]:
            continue
        directory, _, name = path.rpartition("/")
        if directory.endswith((".wants", ".requires")) and name in decided:
            continue  # said of the unit
        was = record.others.get(path)
        if path not in now:
            yield Change(path, ("is gone",))
        elif _is_whiteout(root, now[path]):
            if was is None or was.kind != "other":
                yield Change(path, ("is gone, and the image has it",))
        elif was is None:
            yield Change(path, ("is neither of the image nor of the config",))
        else:
            there = look(root, now[path])
            if there is not None and there != was:
                yield describe_change(path, was, there)


def _list_links(root: Root) -> dict[str, str]:
    """The links that the image has made at each boot, path -> target (tmpfiles.d(5))."""
    links: dict[str, str] = {}
    for path in root.list_below(TMPFILES):
        if path.endswith(".conf"):
            rows = (line.split(None, 6) for line in root.read(path).decode("utf-8", "replace").splitlines())
            links |= {row[1]: row[6].strip() for row in rows if len(row) == 7 and row[0].startswith("L")}
    return links


def _is_whiteout(root: Root, path: str) -> bool:
    """What an overlay has in the place of something that was removed: a character device without a number."""
    there = root.see(path).stat
    return there is not None and stat.S_ISCHR(there.st_mode) and there.st_rdev == 0


def _list_accounts(record: Record, config: Config, names: Names) -> Iterator[Change]:
    decided = {user.name for user in config.passwd.users}
    for name, account in sorted(names.users.items()):
        if FIRST_PERSON <= account.uid <= LAST_PERSON and name not in record.accounts and name not in decided:
            yield Change(f"user {name}", ("is neither of the image nor of the config",))
    decided = {group.name for group in config.passwd.groups} | names.users.keys()
    for name, gid in sorted(names.groups.items()):
        if FIRST_PERSON <= gid <= LAST_PERSON and name not in record.accounts and name not in decided:
            yield Change(f"group {name}", ("is neither of the image nor of the config",))
