"""What of a changed definition a machine can be given while it runs, and what only a new image brings.

A machine's ``/usr`` is verified and stays as it is. What can be put beside it is what the machine reads from elsewhere
as well: ``/etc``, whose changes it keeps, and ``/run``, where systemd, udev and others look before ``/usr/lib``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.core.inputs import collect_inputs
from builder.definition.resolved import Resolved
from builder.stages.overlays import lay_over
from builder.stages.units import PRESETS, QUADLETS, UNITS, lay_units
from builder.tree.node import Kind, Node
from builder.tree.tree import Tree

# Runs on the machine: its own Python reads it from the command line.
PROGRAM = Path(__file__).with_name("put_live.py")
OVERRIDES = "/run/systemd/system"
ETC_UNITS = "/etc/systemd/system"
# Below these, a file in the second place takes the place of the one in the first, once that was done.
BESIDE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    f"{UNITS}/": (f"{OVERRIDES}/", ()),
    f"{QUADLETS}/": ("/run/containers/systemd/", ()),
    "/usr/lib/systemd/network/": ("/run/systemd/network/", ("networkctl", "reload")),
    "/usr/lib/sysctl.d/": ("/run/sysctl.d/", ("/usr/lib/systemd/systemd-sysctl",)),
    "/usr/lib/tmpfiles.d/": ("/run/tmpfiles.d/", ("systemd-tmpfiles", "--create")),
    "/usr/lib/udev/rules.d/": ("/run/udev/rules.d/", ("udevadm", "control", "--reload")),
}
# What in /etc is read again by whom.
READ_AGAIN: Mapping[str, tuple[str, ...]] = {
    "/etc/systemd/network/": ("networkctl", "reload"),
    "/etc/sysctl.d/": ("/usr/lib/systemd/systemd-sysctl",),
    "/etc/tmpfiles.d/": ("systemd-tmpfiles", "--create"),
    "/etc/udev/rules.d/": ("udevadm", "control", "--reload"),
}
# Units that are started again when they change; of others, systemd reads the new text and no more.
RESTARTED = (".service", ".socket", ".timer", ".path")
QUADLET_SERVICES = {".container": ".service", ".pod": "-pod.service", ".kube": ".service"}
# What editors (vim, Emacs, nano) leave beside a file while it is written.
OF_EDITORS = re.compile(r"(?:^|/)(?:[^/]*~|#[^/]*#|\.#[^/]*|\.[^/]*\.sw[a-px]|4913)$")
# Of what a definition says, this is looked at by itself; all else needs a new image.
LOOKED_AT = ("build-os", "path", "overlays", "units", "presets", "apps")


@dataclass(frozen=True)
class Live:
    """What a definition gives a machine, as far as it matters here.

    Attributes:
        files: of overlays and directories of units, by path in the image.
        presets: unit -> ``enable``, ``disable`` or ``mask``.
        apps: name -> what changes when its own files do.
        rest: everything else, label -> hash.
    """

    files: Mapping[str, Node]
    presets: Mapping[str, str]
    apps: Mapping[str, str]
    rest: Mapping[str, str]


@dataclass(frozen=True)
class Put:
    """A file of the machine.

    Attributes:
        path: on the machine.
        node: what is to be there; ``None`` for nothing.
        before: the hash of what is there now, if the machine has not changed it itself; ``None`` if nothing is.
        of_image: the path in the image.
    """

    path: str
    node: Node | None
    before: str | None
    of_image: str


@dataclass(frozen=True)
class Changes:
    """What to do for a running machine.

    Attributes:
        first: commands before files are put.
        files: to put.
        commands: after that.
        apps: names of those to send anew.
        remains: places of files that are taken away, whose settings the kernel or the machine keeps until a reboot.
        reboot: why a new image is needed, besides.
    """

    first: tuple[tuple[str, ...], ...] = ()
    files: tuple[Put, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    apps: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    reboot: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing for the machine to be asked."""
        return not (self.first or self.files or self.commands)


def describe_live(resolved: Resolved) -> Live:
    """What a definition says now.

    Raises:
        InputError: a template does not fill in.
    """
    tree = Tree()
    lay_over(tree, resolved.overlays, resolved.values)
    lay_units(tree, resolved.units, resolved.values)
    kinds = (Kind.FILE, Kind.SYMLINK)
    files = {path: node for path, node in tree.walk() if node.kind in kinds and not OF_EDITORS.search(path)}
    presets = {unit: verb for verb in ("enable", "disable", "mask") for unit in getattr(resolved.presets, verb)}
    inputs = collect_inputs(resolved)
    apps = {
        app.name: _digest(
            label + known
            for label, known in inputs.items()
            if label.startswith(f"apps[{app.name}].files.") and not OF_EDITORS.search(label.rpartition(":")[2])
        )
        for app in resolved.apps
    }
    rest = {
        label: known
        for label, known in inputs.items()
        if not label.startswith(LOOKED_AT) or (label.startswith("apps") and "].files." not in label)
    }
    return Live(files, presets, apps, rest)


def decide_changes(before: Live, now: Live) -> Changes:
    """What makes a machine of one into a machine of the other, as far as that can be without a new image."""
    labels = (re.split(r"[\[.:]", label)[0] for label in sorted(_find_different(before.rest, now.rest)))
    reboot = [f"{name} changed" for name in dict.fromkeys(labels)]
    if set(before.apps) != set(now.apps):
        reboot.append("there are other apps")
    puts: list[Put] = []
    readers: dict[tuple[str, ...], None] = {}
    remains: list[str] = []
    units: dict[str, str] = {}  # unit -> "added", "changed" or "removed"
    was_there, is_there = _find_described_units(before.files), _find_described_units(now.files)
    for path in sorted(_find_different(before.files, now.files)):
        old, new = before.files.get(path), now.files.get(path)
        place, reader = _find_place(path)
        if place is None:
            reboot.append(f"{path} is of the verified image")
            continue
        puts.append(Put(place, new, _hash(old) if path.startswith("/etc/") else None, path))
        if reader:
            readers[reader] = None
            if new is None and reader[0] != "networkctl":  # which undoes; the others only do
                remains.append(place)
        unit = _find_unit(path)
        if unit:
            # Whether it comes or goes, no drop-in says, nor a file of it that has another place now.
            gone, is_new = unit in was_there - is_there, unit in is_there - was_there
            units[unit] = "removed" if gone else "added" if is_new else "changed"
    removed = [unit for unit, what in units.items() if what == "removed"]
    first = [("systemctl", "disable", "--now", unit) for unit in removed if now.presets.get(unit) != "mask"]
    enabled, others = _decide_presets(before.presets, now.presets, removed)
    enabled += [unit for unit, what in units.items() if what == "added" and now.presets.get(unit) == "enable"]
    restarted = [unit for unit, what in units.items() if what == "changed" and unit.endswith(RESTARTED)]
    commands: list[tuple[str, ...]] = []
    if units:
        commands.append(("systemctl", "daemon-reload"))
    commands += [*readers, *others]
    commands += [("systemctl", "enable", "--now", unit) for unit in dict.fromkeys(enabled)]
    commands += [("systemctl", "try-restart", _name_instances(unit)) for unit in restarted]
    apps = tuple(name for name, known in now.apps.items() if before.apps.get(name, known) != known)
    return Changes(tuple(first), tuple(puts), tuple(commands), apps, tuple(remains), tuple(reboot))


def _decide_presets(
    before: Mapping[str, str], now: Mapping[str, str], removed: Sequence[str]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Units that are enabled now, and commands for those that are not any more, or are masked."""
    enabled: list[str] = []
    commands: list[tuple[str, ...]] = []
    for unit in sorted(_find_different(before, now)):
        old, new = before.get(unit), now.get(unit)
        if unit in removed:
            continue
        if old == "mask":
            commands.append(("systemctl", "unmask", unit))
        match new:
            case "enable":
                enabled.append(unit)
            case "mask":
                commands.append(("systemctl", "mask", "--now", unit))
            case _ if old == "enable":
                commands.append(("systemctl", "disable", "--now", unit))
    return enabled, commands


def _find_place(path: str) -> tuple[str | None, tuple[str, ...]]:
    """Where a file of the image can be put on a machine, and who reads it then; ``None`` if nowhere."""
    if path.startswith("/etc/"):
        return path, next((reader for prefix, reader in READ_AGAIN.items() if path.startswith(prefix)), ())
    if path.startswith(f"{PRESETS}/"):
        return None, ()
    for prefix, (beside, reader) in BESIDE.items():
        if path.startswith(prefix):
            return beside + path.removeprefix(prefix), reader
    return None, ()


def _find_unit(path: str) -> str:
    """The unit that a file describes or adds to; empty if it is of none."""
    for prefix in (f"{UNITS}/", f"{ETC_UNITS}/"):
        if path.startswith(prefix):
            first, _, more = path.removeprefix(prefix).partition("/")
            return first.removesuffix(".d") if more and first.endswith(".d") else "" if more else first
    if path.startswith(f"{QUADLETS}/"):
        name = path.removeprefix(f"{QUADLETS}/").partition("/")[0].removesuffix(".d")
        stem, dot, kind = name.rpartition(".")
        return stem + QUADLET_SERVICES[dot + kind] if dot + kind in QUADLET_SERVICES else ""
    return ""


def _find_described_units(paths: Iterable[str]) -> set[str]:
    """The units that files describe, rather than add to; none of them is in a directory of its own."""
    return {_find_unit(path) for path in paths if path.rpartition("/")[0] in (UNITS, ETC_UNITS, QUADLETS)}


def _name_instances(unit: str) -> str:
    """What stands for all instances of a template, for ``systemctl``; of another unit, its name."""
    stem, at, suffix = unit.partition("@.")
    return f"{stem}@*.{suffix}" if at else unit


def _find_different(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """What is in one of them only, or not the same."""
    return {name for name in before.keys() | now.keys() if _known(before.get(name)) != _known(now.get(name))}


def _known(value: Any) -> Any:
    return (value.kind, value.mode, value.target, _hash(value)) if isinstance(value, Node) else value


def _hash(node: Node | None) -> str | None:
    """Of a file's content, or of where a link leads."""
    if node is None:
        return None
    data = node.target.encode(errors="surrogateescape") if node.kind is Kind.SYMLINK else node.content.read()
    return hashlib.sha256(data).hexdigest()


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode(errors="surrogateescape")).hexdigest()


def encode_changes(changes: Changes) -> bytes:
    """What :data:`PROGRAM` reads."""
    files = []
    for put in changes.files:
        row: dict[str, Any] = {"path": put.path, "before": put.before, "check": put.path.startswith("/etc/")}
        if put.node is None:
            # In /run, nothing would let the image's own be seen again.
            row |= {"what": "nothing"} if row["check"] else {"what": "link", "target": "/dev/null"}
        elif put.node.kind is Kind.SYMLINK:
            row |= {"what": "link", "target": put.node.target}
        else:
            data = base64.b64encode(put.node.content.read()).decode("ascii")
            row |= {"what": "file", "mode": put.node.mode, "data": data}
        files.append(row)
    return json.dumps({"first": changes.first, "files": files, "commands": changes.commands}).encode()


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        kept: paths of ``/etc`` that the machine has changed itself, and keeps.
        failed: commands, and what they said.
    """

    kept: tuple[str, ...] = ()
    failed: tuple[tuple[tuple[str, ...], str], ...] = field(default=())


def decode_outcome(text: str) -> Outcome:
    """What :data:`PROGRAM` has printed, behind what root's shell may print.

    Raises:
        ValueError: it is something else.
    """
    data = json.loads(text.strip().rpartition("\n")[2])
    return Outcome(tuple(data["kept"]), tuple((tuple(command), str(said)) for command, said in data["failed"]))
