"""systemd units of the definition and its features, and the decision which units start."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from builder.core import kept
from builder.core.errors import InputError
from builder.core.inputs import hash_source
from builder.core.kept import Contents, keep
from builder.core.suggest import make_suggestion
from builder.definition.findings import shorten_path as shown_path
from builder.definition.shipped import NamedDirectory
from builder.definition.template import TEMPLATE_SUFFIX, Values
from builder.stages.overlays import lay_over
from builder.stages.stage import Context
from builder.tree.materialise import copy_part, materialise
from builder.tree.node import Kind, make_file, make_symlink
from builder.tree.tree import Tree

ORIGIN = "stage:units"
UNITS = "/usr/lib/systemd/system"
PRESETS = "/usr/lib/systemd/system-preset"
# What systemctl is shown: unit files, links to them, presets.
SHOWN = ("system", "user", "system-preset", "user-preset")
QUADLETS = "/usr/share/containers/systemd"
# What systemd reads without the rest of the image: it knows all its settings. Programs and users are another matter.
VERIFIED = (".service", ".socket", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice")
_AT_LINE = re.compile(r"(?P<path>/\S+):(?P<line>\d+): (?P<message>(?:Unknown|Invalid|Failed to parse|Missing) .*)")
QUADLET_SUFFIXES = (".container", ".volume", ".network", ".pod", ".kube", ".image", ".build")


@dataclass(frozen=True)
class Units:
    """Install unit directories, write the definition's presets, and apply all presets.

    Attributes:
        optional: units that presets may name although the image does not have them: those of a feature of which a
            package was excluded or replaced.
    """

    name: ClassVar[str] = "units"
    checkpoint: ClassVar[bool] = False

    units: tuple[NamedDirectory, ...]
    enable: tuple[str, ...]
    disable: tuple[str, ...]
    mask: tuple[str, ...]
    values: Values
    optional: tuple[str, ...] = ()

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with the units, and ``/etc/systemd`` as ``systemctl preset-all`` leaves it."""
        lay_units(tree, self.units, self.values)
        shipped = {name for directory in (UNITS, "/etc/systemd/system") for name in _children(tree, directory)}
        enable, disable = (
            [unit for unit in units if unit not in self.optional or _is_shipped(unit, shipped)]
            for units in (self.enable, self.disable)
        )
        _require_units((*enable, *disable), shipped)
        lines = [*(f"enable {unit}" for unit in enable), *(f"disable {unit}" for unit in disable)]
        tree.put(f"{PRESETS}/10-image.preset", make_file("".join(f"{line}\n" for line in lines), origin=ORIGIN))
        apply_presets(tree, context, self._sources())
        # Last, because "disable" takes the link of a masked instance away again.
        for unit in self.mask:
            tree.put(f"/etc/systemd/system/{unit}", make_symlink("/dev/null", origin=ORIGIN))
        return tree

    def _sources(self) -> dict[str, Path]:
        """The user's file behind each unit and drop-in of ours, by its path in the image."""
        return {
            f"{UNITS}/{path.relative_to(directory.path)}".removesuffix(TEMPLATE_SUFFIX): path
            for directory in self.units
            for path in sorted(directory.path.rglob("*"))
            if path.is_file()
        }


def lay_units(tree: Tree, units: Iterable[NamedDirectory], values: Values) -> None:
    """Put the files of directories of units where systemd and podman look for them.

    Raises:
        InputError: a template does not fill in.
    """
    for directory in units:
        staged = Tree()
        lay_over(staged, [directory], values)
        for path, node in staged.walk():
            name = path.lstrip("/")
            if path == "/":
                continue
            if name.endswith(".preset"):
                tree.put(f"{PRESETS}/{name}", node)
            elif name.partition("/")[0].removesuffix(".d").endswith(QUADLET_SUFFIXES):
                tree.put(f"{QUADLETS}/{name}", node)
            else:
                tree.put(f"{UNITS}/{name}", node)


def _require_units(units: Iterable[str], shipped: set[str]) -> None:
    """Every unit that a preset names must be in the image.

    Raises:
        InputError: with the nearest names, for all that are not.
    """
    problems = {
        unit: f"{unit}: no unit of this name is in the image{make_suggestion(unit, shipped)}"
        for unit in units
        if not _is_shipped(unit, shipped)
    }
    if problems:
        raise InputError(
            "presets name units that the image does not have",
            details=list(problems.values()),
            names=problems,
            hint="add the unit to a directory of 'units', or the package that ships it to 'packages'",
        )


def _is_shipped(unit: str, shipped: set[str]) -> bool:
    template = unit.partition("@")[0] + "@." + unit.rpartition(".")[2]
    return unit in shipped or ("@" in unit and template in shipped)


def _children(tree: Tree, directory: str) -> list[str]:
    return tree.list_children(directory) if directory in tree else []


def apply_presets(tree: Tree, context: Context, sources: Mapping[str, Path]) -> None:
    """``systemctl preset-all`` for the system and for users, offline, and what systemd thinks of units of ours.

    What comes of it is kept under a key of all that it is shown, because most changes to an image are not to its units.
    """
    directories = [f"{part}/{sub}" for part in ("/usr/lib/systemd", "/etc/systemd") for sub in SHOWN]
    shown = [path for path in directories if path in tree]
    inputs = {
        "build-os": hash_source(__name__),
        "tools": context.tools.root.name,
        "units": copy_part(tree, shown).compute_digest(),
    }

    def make(_: Path) -> Contents:
        return Contents(value=_preset_all(tree, shown, context, sources))

    links: dict[str, str | None] = keep(
        context.store, kept.PRESETS, inputs, make, context.console, context.scratch
    ).value
    for path, target in links.items():
        if target is None:
            tree.remove(path)
        else:
            tree.put(path, make_symlink(target, origin=ORIGIN))


def _preset_all(tree: Tree, shown: list[str], context: Context, sources: Mapping[str, Path]) -> dict[str, str | None]:
    """The links that ``systemctl`` made, and as ``None`` what it removed.

    Raises:
        InputError: systemd would ignore something in a unit of ours.
    """
    changed = tree.copy()
    with tempfile.TemporaryDirectory(dir=context.scratch, prefix="presets-") as directory:
        part = materialise(tree, Path(directory), shown)
        _require_understood(Path(directory), sources, context)
        context.tools.run("systemctl", f"--root={directory}", "preset-all")
        context.tools.run("systemctl", f"--root={directory}", "--global", "preset-all")
        paths = part.absorb(changed, origin=ORIGIN, below="/etc/systemd")
    links: dict[str, str | None] = {}
    for path in paths:
        node = changed.get(path)
        if node is None or node.kind is Kind.SYMLINK:
            links[path] = None if node is None else node.target
    return links


def _require_understood(root: Path, sources: Mapping[str, Path], context: Context) -> None:
    """Let systemd read the units of ours; what it would pass over silently at each boot ends the build.

    Raises:
        InputError: with file and line of each.
    """
    names = [path.rpartition("/")[2] for path in sources if path.endswith(VERIFIED) and (root / path[1:]).is_file()]
    if not names or context.tools.find("systemd-analyze") is None:
        return
    instances = [name.replace("@.", "@example.") for name in names]  # a template is read as one of its instances
    with context.tools.spawn(
        *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *instances),
        stderr=subprocess.PIPE,
    ) as process:
        said = process.communicate()[1].decode(errors="replace").splitlines()
    problems: dict[str, None] = {}
    for line in said:
        context.console.log(line)
        match = _AT_LINE.search(line)
        source = sources.get(match["path"].removeprefix(str(root))) if match is not None else None
        if match is not None and source is not None:
            problems[f"{shown_path(source)}:{match['line']}: {match['message']}"] = None
    if problems:
        raise InputError(
            "units have settings that systemd would ignore",
            details=list(problems),
            hint="see systemd.directives(7)",
        )
