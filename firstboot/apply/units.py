"""systemd units: their files and drop-ins, masks, and which are enabled.

What the config enables is written as a preset, as upstream does, so that applying presets again gives the
same machine. Whoever cannot count on presets being applied at the next boot enables at once as well: on a
machine with a machine-id PID 1 does not take the boot for the first and applies none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from firstboot.apply.action import Action, Machine
from firstboot.apply.allowed import check_writable
from firstboot.apply.programs import Programs, explain_missing
from firstboot.apply.root import Root
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.explain import find_suggestion
from firstboot.config.models import Config, Unit
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.quadlets import list_possible_files
from firstboot.config.text import Path, Problem

PRESET = "/etc/systemd/system-preset/20-ignition.preset"
UNIT_PATH = (UNIT_DIRECTORY, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")  # systemd.unit(5)
_NOTHING = "/dev/null"


class WriteUnit(NamedTuple):
    """Write a unit or a drop-in in place of whatever is there."""

    at: Path
    path: str
    contents: str

    def describe(self) -> str:
        return f"write unit {self.path.removeprefix(UNIT_DIRECTORY + '/')}"

    def perform(self, machine: Machine) -> None:
        if machine.root.see(self.path).is_directory:
            machine.root.remove(self.path)
        machine.root.write(self.path, self.contents.encode("utf-8", "surrogatepass"), mode=0o644)


class Mask(NamedTuple):
    """Make a unit impossible to start, in place of whatever is there."""

    at: Path
    name: str

    def describe(self) -> str:
        return f"mask unit {self.name}"

    def perform(self, machine: Machine) -> None:
        path = f"{UNIT_DIRECTORY}/{self.name}"
        machine.root.remove(path)
        machine.root.make_symlink(path, _NOTHING)


class Unmask(NamedTuple):
    """Take a mask away; any other file of that name stays."""

    at: Path
    name: str

    def describe(self) -> str:
        return f"unmask unit {self.name}"

    def perform(self, machine: Machine) -> None:
        path = f"{UNIT_DIRECTORY}/{self.name}"
        if machine.root.see(path).target == _NOTHING:
            machine.root.remove(path)


class WritePreset(NamedTuple):
    """Say which units are enabled and disabled (systemd.preset(5))."""

    at: Path
    lines: tuple[str, ...]

    def describe(self) -> str:
        return f"write preset: {', '.join(self.lines)}"

    def perform(self, machine: Machine) -> None:
        text = "".join(f"{line}\n" for line in self.lines)
        if machine.root.see(PRESET).is_file:
            machine.root.append(PRESET, text.encode())
        else:
            machine.root.write(PRESET, text.encode(), mode=0o644)


class Systemctl(NamedTuple):
    """Enable or disable units without a running systemd."""

    at: Path
    verb: str
    names: tuple[str, ...]

    def describe(self) -> str:
        return f"{self.verb} {' '.join(self.names)}"

    def perform(self, machine: Machine) -> None:
        machine.programs.run(["systemctl", f"--root={machine.root.directory}", self.verb, "--", *self.names])


class AbsentUnit(Problem):
    """A unit that is to be enabled and will not be there."""

    def make_warning(self) -> Problem:
        """Upstream writes the preset and boots: what the system of its author has is not in every image."""
        return Problem(self.path, self.message, self.hint, "warning", self.on_key)


def plan(config: Config, root: Root, programs: Programs, *, enable: bool) -> Iterator[Action | Problem]:
    """What to do for ``systemd``.

    Args:
        config: a checked config.
        root: the tree as it is now.
        programs: to ask ``systemctl`` whether a unit that is to be disabled is enabled.
        enable: enable units at once, besides writing the preset.
    """
    units = config.systemd.units
    for index, unit in enumerate(units):
        yield from _files(unit, ("systemd", "units", index), root)
    asking = [index for index, unit in enumerate(units) if unit.enabled is False or (unit.enabled and enable)]
    can_ask = not asking or programs.find("systemctl") is not None
    if not can_ask:
        yield explain_missing("systemctl", ("systemd", "units", asking[0], "enabled"))
    written = {unit.name for unit in units if unit.contents}
    refused = [resolve_alias(unit.name, root, written) for unit in units if unit.enabled is False] if can_ask else []
    disabled = [name for name in refused if _is_enabled(name, root, programs)]
    lines = [
        *format_preset_lines([resolve_alias(unit.name, root, written) for unit in units if unit.enabled]),
        *(f"disable {name}" for name in disabled),
    ]
    at: Path = ("systemd", "units")
    if lines:
        yield from check_writable(root.see(PRESET), PRESET, at)
        yield WritePreset(at, tuple(lines))
    if disabled:
        yield Systemctl(at, "disable", tuple(disabled))
    if enable:
        yield from _enable(config, root)
    for index, unit in enumerate(units):
        here = (*at, index)
        if unit.mask:
            yield Mask(here, unit.name)
            if (real := resolve_alias(unit.name, root, written)) != unit.name:
                yield Mask(here, real)
        elif unit.mask is False and root.see(f"{UNIT_DIRECTORY}/{unit.name}").target == _NOTHING:
            yield Unmask(here, unit.name)


def _files(unit: Unit, at: Path, root: Root) -> Iterator[Action | Problem]:
    path = f"{UNIT_DIRECTORY}/{unit.name}"
    if "/" in unit.name:
        yield Problem((*at, "name"), f"'{unit.name}' is not the name of a unit: it contains a '/'")
        return
    if unit.contents or unit.dropins or unit.mask is not None:
        yield from check_writable(root.see(path), path, (*at, "name"))
    if unit.contents:
        yield WriteUnit((*at, "contents"), path, unit.contents)
    for index, dropin in enumerate(unit.dropins):
        here = (*at, "dropins", index)
        if "/" in dropin.name:
            yield Problem((*here, "name"), f"'{dropin.name}' is not the name of a drop-in: it contains a '/'")
        elif dropin.contents is not None:
            # An empty one is written: it hides one of the same name further down the unit path.
            yield WriteUnit((*here, "contents"), f"{path}.d/{dropin.name}", dropin.contents)


def format_preset_lines(names: Sequence[str]) -> list[str]:
    """``enable`` lines, sorted; the instances of a template on one line, as systemd.preset(5) wants them."""
    instances: dict[str, list[str]] = {}
    for name in names:
        stem, at, rest = name.partition("@")
        instance, dot, kind = rest.rpartition(".")
        if at and instance:
            instances.setdefault(f"{stem}@{dot}{kind}", []).append(instance)
        else:
            instances.setdefault(name, [])
    return [" ".join(["enable", name, *names]) for name, names in sorted(instances.items())]


def _is_enabled(name: str, root: Root, programs: Programs) -> bool:
    status, _ = programs.run_for_status(["systemctl", f"--root={root.directory}", "is-enabled", "--", name])
    return status == 0


def _enable(config: Config, root: Root) -> Iterator[Action | Problem]:
    units, storage = config.systemd.units, config.storage
    written = {unit.name for unit in units if unit.contents}
    placed: set[str] = set()
    if any(unit.enabled and unit.name not in written for unit in units):
        # Units come as files as well, from trees of files for one.
        placed = {root.see(node.path).path for node in (*storage.files, *storage.links)}
    names: list[str] = []
    for index, unit in enumerate(units):
        if not unit.enabled or unit.mask:
            continue
        at: Path = ("systemd", "units", index, "name")
        if has_unit(unit.name, root, written, placed):
            names.append(resolve_alias(unit.name, root, written))
        elif any(name in placed or root.has(name) for name in list_possible_files(unit.name)):
            message = f"podman makes '{unit.name}' when the machine starts, and enabling it does nothing"
            yield Problem(at, message, "an [Install] section in its .container file says what starts it", "warning")
        else:
            message = f"there is no unit '{unit.name}' in the image, and the config gives it no contents"
            yield AbsentUnit(at, message, find_suggestion(unit.name, written))
    if names:
        yield Systemctl(("systemd", "units"), "enable", tuple(names))


def resolve_alias(name: str, root: Root, written: Set[str] = frozenset()) -> str:
    """The unit that ``name`` is another name of (``Alias=``, systemd.unit(5)), or ``name``.

    ``systemctl enable`` refuses another name ("linked unit file"), ``disable`` only removes that name, and a
    preset does not match it; but that is how a config of another system calls the unit (``chronyd.service``).

    Args:
        written: names of units that the config brings itself.
    """
    if name in written:
        return name
    for directory in UNIT_PATH:
        seen = root.see(f"{directory}/{name}")
        if seen.stat is not None:
            place, _, unit = root.resolve(seen.path).rpartition("/") if seen.target else ("", "", name)
            return unit if place in UNIT_PATH and root.has(f"{place}/{unit}") else name
    return name


def has_unit(name: str, root: Root, written: Set[str] = frozenset(), placed: Set[str] = frozenset()) -> bool:
    """Whether there is a unit, or the template that it is an instance of.

    Args:
        written: names of units that will be there.
        placed: paths of files that will be.
    """
    stem, at, rest = name.partition("@")
    candidates = {name, f"{stem}@.{rest.rpartition('.')[2]}"} if at else {name}
    if candidates & written:
        return True
    paths = [f"{directory}/{name}" for directory in UNIT_PATH for name in candidates]
    return any(root.see(path).path in placed or root.has(path) for path in paths)
