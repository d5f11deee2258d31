"""Resolve a definition's packages against today's archive and write the lock beside it.

The lock names every deb by hash; a build uses nothing else. Commit it. What is locked already keeps its
version until it is updated.

  build-os lock                          os.yaml -> os.lock: what the definition asks for now
  build-os lock --update                 everything as new as the archive has it
  build-os lock --update openssl bash    these, and what they need
  build-os lock --update web             the container 'web': what its image's tag leads to now
  build-os lock --check                  fail if the lock is not current
  build-os lock --verify                 that, look up every deb's hash in signed indexes, verify images and artifacts
  build-os lock diff                     what an update would change, and why
  build-os lock diff old.lock new.lock   the same for two locks ('-' reads one from standard input:
                                         git show HEAD:os.lock | build-os lock diff - os.lock)
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import DEFAULT_DEFINITION, require_definition
from builder.core.console import Console, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.core.store import Store
    from builder.debian.lock import DecisionChange, Lock
    from builder.debian.lockdiff import Changed, WheelChange

HELP = "decide which packages, by hash; show what an update brings"
DIFF = "diff"
SHOWN_LINES = 12


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "words",
        nargs="*",
        type=Path,
        metavar="DEFINITION",
        help=f"the YAML file (default: {DEFAULT_DEFINITION}); or: diff [OLD] [NEW]",
    )
    parser.add_argument("--check", action="store_true", help="only say whether the lock fits the definition")
    parser.add_argument("--verify", action="store_true", help="--check, and look every hash up in signed indexes again")
    parser.add_argument(
        "--update",
        nargs="*",
        metavar="PACKAGE",
        help="take the archive's version of these and what they need, or of all",
    )
    parser.add_argument(
        "--definition", type=Path, default=Path(DEFAULT_DEFINITION), help="diff: whose update to look at"
    )
    parser.add_argument("--offline", action="store_true", help="diff: changelogs only of what is in the store")
    parser.add_argument("--json", action="store_true", help="diff: for programs")


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the lock and print its path, or show a difference."""
    from builder.build.request import BuildRequest
    from builder.build.workspace import open_store
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.load import read_kind
    from builder.locking import (
        describe_changes,
        load_any,
        make_lock,
        make_lock_path,
        require_current,
        require_proven,
        require_verified,
    )

    if args.words and args.words[0] == Path(DIFF):
        store = Store.open()
        with store.keep_in_use(console):
            return _run_diff(args, store, console)
    if len(args.words) > 1:
        raise InputError(
            f"one definition at a time, not {len(args.words)}", hint="packages to update go behind --update"
        )
    path = require_definition(args.words[0] if args.words else args.definition)
    resolved = load_any(path)
    target = make_lock_path(path)
    if args.check or args.verify:
        lock = Lock.load(target)
        require_current(lock, resolved, str(target))
        console.note(f"{target} fits {path}")
        if args.verify:
            with open_store(BuildRequest(path, path.parent, Store.open(), console, no_cache=True)) as workspace:
                require_proven(lock, resolved, workspace.kept, console)
                require_verified(lock, resolved, workspace.kept, console)
        return 0
    if read_kind(path) == "extension":
        return _lock_extension(path, console, update=args.update is not None)
    old = Lock.load(target) if target.exists() else None
    if args.update and old is None:
        raise InputError(f"there is no {target} to update", hint="'build-os lock' makes it, everything at its newest")
    update = () if args.update is None else args.update or None
    store = Store.open()
    with store.keep_in_use(console):
        lock = make_lock(resolved, store, console, newest=old, update=update)
    lock.dump(target)
    for line in describe_changes(old, lock):
        console.note(line)
    wheels = f", {len(lock.wheels)} wheels" if lock.wheels else ""
    console.note(f"{len(lock.packages)} packages, {len(lock.tools)} for the tools{wheels}")
    sys.stdout.write(f"{target}\n")
    return 0


def _lock_extension(path: Path, console: Console, *, update: bool) -> int:
    """What the system has keeps its versions; ``update`` is for what the extension brings."""
    from builder.build.extension import lock_extension
    from builder.build.inputs import require_lock
    from builder.build.request import BuildRequest
    from builder.build.workspace import open_store
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.extensions import load_extension
    from builder.locking import make_lock_path

    extension, target = load_extension(path).resolved, make_lock_path(path)
    with open_store(BuildRequest(path, path.parent, Store.open(), console)) as workspace:
        system_lock = require_lock(workspace, extension.system)
        old = Lock.load(target) if target.exists() and not update else None
        lock_extension(workspace, extension, system_lock, old)
    sys.stdout.write(f"{target}\n")
    return 0


def _run_diff(args: argparse.Namespace, store: Store, console: Console) -> int:
    from builder.artifacts.locking import describe_artifacts
    from builder.core.errors import InputError
    from builder.debian.fetch import fetch_packages
    from builder.debian.lock import Lock, compare_decisions
    from builder.debian.lockdiff import compare_locks, compare_wheels, explain_differences
    from builder.locking import choose_mirrors, describe_images, load_any, make_lock, make_lock_path

    files = args.words[1:]
    if len(files) > 2:
        raise InputError("diff compares two locks", hint="build-os lock diff OLD NEW")
    own = make_lock_path(args.definition)
    old = _load(files[0] if files else own)
    resolved = None
    if len(files) == 2:
        new = _load(files[1])
    elif files:
        new = Lock.load(own)
    else:
        resolved = load_any(require_definition(args.definition))
        new = make_lock(resolved, store, console, newest=old)
    changes = compare_locks(old, new)
    if not args.offline and args.definition.is_file():
        resolved = resolved or load_any(args.definition)
        wanted = [change.new for change in changes if change.new is not None and change.old is not None]
        with console.open_step("fetch what changed, for its changelogs"):
            fetch_packages(wanted, lambda: choose_mirrors(resolved), store, console)
    explained_changes = list(explain_differences(changes, new, store))
    wheels = compare_wheels(old, new)
    decided = compare_decisions(old.decisions, new.decisions)
    others = [*describe_images(old, new), *describe_artifacts(old, new)]
    if args.json:
        rows = [
            *map(_data, explained_changes),
            *map(_wheel_data, wheels),
            *map(_decision_data, decided),
            *list_moved(old, new),
        ]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write(
            "".join(f"{line}\n" for line in format_lines(explained_changes, [*others, *map(str, decided)]))
        )
    return 0


def _load(path: Path) -> Lock:
    from builder.debian.lock import Lock

    return Lock.parse(sys.stdin.buffer.read(), "standard input") if path == Path("-") else Lock.load(path)


def _data(change: Changed) -> dict[str, object]:
    """A change for programs; sizes in bytes."""
    return {
        "name": change.name,
        "kind": change.kind,
        "groups": change.groups,
        "old": change.old.version if change.old else None,
        "new": change.new.version if change.new else None,
        "source": change.package.source_name,
        "download_bytes": change.download,
        "installed_bytes": None if change.installed is None else change.installed * 1024,
        "advisories": change.advisories,
        "bugs": change.bugs,
        "changelog": [{"version": entry.version, "lines": entry.lines} for entry in change.entries],
    }


def list_moved(old: Lock, new: Lock) -> list[dict[str, object]]:
    """Images and artifacts that changed, for programs."""
    sides = [
        {("image", "containers", row.name): row.digest for row in lock.images}
        | {("artifact", row.group, row.artifact): f"sha256:{row.sha256}" for row in lock.artifacts}
        for lock in (old, new)
    ]
    keys = sorted(sides[0].keys() | sides[1].keys())
    return [
        {"name": key[2], "kind": key[0], "groups": [key[1]], "old": sides[0].get(key), "new": sides[1].get(key)}
        for key in keys
        if sides[0].get(key) != sides[1].get(key)
    ]


def _decision_data(change: DecisionChange) -> dict[str, object]:
    """A decision about scripts that changed, for programs."""
    known = change.new or change.old
    assert known is not None, "one of them is there"
    sides = {"old": change.old, "new": change.new}
    return {
        "name": known.package,
        "kind": "decision",
        "groups": [known.group],
        **{side: None if d is None else {"answer": d.answer, "why": d.why} for side, d in sides.items()},
    }


def _wheel_data(change: WheelChange) -> dict[str, object]:
    """A wheel that changed, for programs."""
    sides = {"old": change.old, "new": change.new}
    return {
        "name": change.name,
        "kind": f"wheel {change.kind}",
        "groups": [change.group],
        "environment": change.environment,
        **{side: None if w is None else w.version for side, w in sides.items()},
        "download_bytes": (change.new.size if change.new else 0) - (change.old.size if change.old else 0),
    }


def format_lines(changes: Sequence[Changed], others: Sequence[str] = ()) -> list[str]:
    """The changes for people: a line each, what the changelog says below, and the sums; then all that is no package."""
    lines = []
    told: set[tuple[str, tuple[str, ...]]] = set()
    for change in changes:
        versions = {
            "added": f"added {change.new.version if change.new else ''}",
            "removed": f"removed {change.old.version if change.old else ''}",
            "changed": f"{change.old.version if change.old else ''} -> {change.new.version if change.new else ''}",
        }[change.kind]
        installed = "" if change.installed is None else f", installed {_signed(change.installed * 1024)}"
        groups = ", ".join(change.groups)
        lines.append(f"{change.name}  {versions}  ({groups}; download {_signed(change.download)}{installed})")
        if change.advisories:
            lines.append(f"    fixes {', '.join(change.advisories)}")
        source = change.package.source
        versions_told = (source, tuple(entry.version for entry in change.entries))
        if versions_told in told:  # another package of the same source
            lines.append(f"    as above: {source}")
            continue
        if change.entries:
            told.add(versions_told)
        for entry in change.entries:
            lines.append(f"    {entry.version}")
            lines += [f"      {line}" for line in entry.lines[:SHOWN_LINES]]
            if len(entry.lines) > SHOWN_LINES:
                lines.append(f"      ... {len(entry.lines) - SHOWN_LINES} more lines (--json has them)")
    if not changes:
        return list(others) or ["no difference"]
    kinds = [sum(change.kind == kind for change in changes) for kind in ("added", "removed", "changed")]
    advisories = len({name for change in changes for name in change.advisories})
    lines.append("")
    lines.append(
        f"{kinds[0]} added, {kinds[1]} removed, {kinds[2]} changed; "
        f"download {_signed(sum(change.download for change in changes))}; {advisories} advisories named"
    )
    lines += others
    return lines


def _signed(size: int) -> str:
    return f"{'-' if size < 0 else '+'}{format_size(abs(size))}"
