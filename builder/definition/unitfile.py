"""Reading systemd's unit, drop-in and preset files closely enough to catch slips before an image is built.

The grammar is systemd.syntax(7) and systemd.preset(5). Settings are not checked here, because only the
systemd in the image knows them all; a section's name is, because systemd ignores one that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.core.once import remember_answer
from builder.definition.findings import make_line_error, shorten_path
from builder.definition.scalars import UNIT_SUFFIXES
from builder.definition.template import TEMPLATE_SUFFIX, Values, read_text, render_text
from firstboot.config.located import Located, LocatedError, Problem, find_suggestion

QUADLET_SUFFIXES = ("container", "volume", "network", "pod", "kube", "image", "build")
"""Files from which podman makes units (podman-systemd.unit(5))."""

# Types of units without a section of their own have only these.
_COMMON = ("Unit", "Install")
_SECTIONS = {"service", "socket", "mount", "automount", "swap", "path", "timer", "slice"}
# Settings whose words are names of units (systemd.unit(5), systemd.timer(5) and others).
_NAMES_UNITS = (
    "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "Before", "After", "OnFailure",
    "OnSuccess", "PropagatesReloadTo", "ReloadPropagatedFrom", "PropagatesStopTo", "StopPropagatedFrom",
    "JoinsNamespaceOf", "WantedBy", "RequiredBy", "UpheldBy", "Also", "Sockets", "Slice",
)  # fmt: skip
_MADE_BY_SYSTEMD = ("device", "scope", "snapshot")
NOTES = "README.md"  # may lie in a directory of units; it does not get into the image
_PRESET_VERBS = ("enable", "disable", "ignore")


def find_unit_problems(directory: Path, values: Values) -> Iterator[LocatedError]:
    """All that is wrong with the files in a directory of units."""
    for path, suffix, problems in _check_files(directory):
        yield from problems
        if suffix is not None:
            yield from _template_problems(path, suffix, values)


@remember_answer
def _check_files(directory: Path) -> tuple[tuple[Path, str | None, tuple[LocatedError, ...]], ...]:
    """Each entry, of a template what kind of unit it makes, and what is wrong whatever a template is filled with."""
    rows: list[tuple[Path, str | None, tuple[LocatedError, ...]]] = []
    seen: dict[Path, Path] = {}
    for path in sorted(directory.rglob("*")):
        suffix, problems = None, []
        if path.is_symlink():
            message = "a link in a directory of units is not followed"
            problems = [_whole(path, message, "aliases are made by Alias= in [Install]")]
        elif path.is_dir():
            if path.parent != directory or not _is_drop_in_directory(path.name):
                message = "this directory is not for drop-ins of a unit"
                problems = [_whole(path, message, "name it like app.service.d")]
        elif path != directory / NOTES:
            target = path.with_name(path.name.removesuffix(TEMPLATE_SUFFIX))
            if target in seen:
                problems.append(_whole(path, f"{shorten_path(seen[target])} makes the same file"))
            seen[target] = path
            suffix = _find_kind(path, target.name)
            if suffix is None:
                message = "this is no unit, drop-in or preset"
                problems.append(_whole(path, message, "other files of an image belong into an overlay"))
            elif target == path:
                problems += _file_problems(path, suffix)
                suffix = None
        rows.append((path, suffix, tuple(problems)))
    return tuple(rows)


def _find_kind(path: Path, name: str) -> str | None:
    """What kind of unit a file is of, by its name or by that of the directory of drop-ins that it is in."""
    in_drop_in = _is_drop_in_directory(path.parent.name) and name.endswith(".conf")
    suffix = path.parent.name.removesuffix(".d").rpartition(".")[2] if in_drop_in else name.rpartition(".")[2]
    return suffix if suffix in (*UNIT_SUFFIXES, *QUADLET_SUFFIXES, "preset") else None


@remember_answer
def find_unit_files(directory: Path) -> frozenset[str]:
    """The files that a directory of units brings, by their path in it; templates by what they make."""
    paths = (path for path in directory.rglob("*") if path.is_file() and path != directory / NOTES)
    return frozenset(str(path.relative_to(directory)).removesuffix(TEMPLATE_SUFFIX) for path in paths)


def _file_problems(path: Path, suffix: str) -> Iterator[LocatedError]:
    try:
        text = read_text(path)
    except LocatedError as error:
        yield error
        return
    yield from _text_problems(text, suffix, shorten_path(path))


def _template_problems(path: Path, suffix: str, values: Values) -> Iterator[LocatedError]:
    shown_name = shorten_path(path)
    try:
        text = render_text(read_text(path), shown_name, values)
    except LocatedError as error:
        yield error
        return
    yield from _text_problems(text, suffix, f"{shown_name} (filled in)")


def _text_problems(text: str, suffix: str, shown_name: str) -> Iterator[LocatedError]:
    problems = _preset_problems(text) if suffix == "preset" else _syntax_problems(text, suffix)
    for line, message, hint in problems:
        yield make_line_error(shown_name, text, line, 1, message, hint)


def _syntax_problems(text: str, suffix: str) -> Iterator[tuple[int, str, str | None]]:
    """(line, message, hint) of each line of a unit that systemd would ignore."""
    own: tuple[str, ...] = _COMMON
    if suffix in _SECTIONS:
        own = (*_COMMON, suffix.capitalize())
    elif suffix in QUADLET_SUFFIXES:
        own = (*_COMMON, suffix.capitalize(), "Quadlet", "Service")
    section: str | None = None
    continued = False
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            continue
        if continued or not stripped:
            continued = continued and stripped.endswith("\\")
            continue
        continued = stripped.endswith("\\")
        if stripped.startswith("["):
            section = stripped.strip("[]")
            if not stripped.endswith("]"):
                yield number, "the section's name lacks its ']'", None
            elif section not in own and not section.startswith("X-"):
                yield (
                    number,
                    f"a {suffix} has no section [{section}]; systemd would ignore it",
                    find_suggestion(section, own),
                )
        elif "=" not in stripped:
            yield number, "this is neither a [Section] nor Setting=value", None
        elif section is None:
            yield number, "this setting stands before the first [Section]", None
        else:
            name, _, value = stripped.partition("=")
            if name.strip() in _NAMES_UNITS:
                yield from ((number, message, hint) for message, hint in _unit_name_problems(name.strip(), value))


def _unit_name_problems(setting: str, value: str) -> Iterator[tuple[str, str | None]]:
    """Names that no unit can have: systemd ignores them, and the unit never starts, or starts too early."""
    kinds = (*UNIT_SUFFIXES, *_MADE_BY_SYSTEMD, *QUADLET_SUFFIXES)
    for word in value.rstrip("\\").split():
        stem, _, kind = word.rpartition(".")
        if "%" in word or (stem and kind in kinds):
            continue
        near = find_suggestion(kind, kinds) if stem else None
        meant = near.removeprefix("did you mean '").removesuffix("'?") if near else None
        yield f"{setting}={word}: this is no unit's name", f"did you mean '{stem}.{meant}'?" if meant else None


def _preset_problems(text: str) -> Iterator[tuple[int, str, str | None]]:
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith(("#", ";")):
            continue
        if words[0] not in _PRESET_VERBS or len(words) < 2:
            yield (
                number,
                "a preset is 'enable UNIT', 'disable UNIT' or 'ignore UNIT'",
                find_suggestion(words[0], _PRESET_VERBS),
            )


def _is_drop_in_directory(name: str) -> bool:
    """``app.service.d``, ``app-.service.d``, ``service.d``."""
    kind = name.removesuffix(".d").rpartition(".")[2]
    return name.endswith(".d") and kind in (*UNIT_SUFFIXES, *QUADLET_SUFFIXES)


def _whole(path: Path, message: str, hint: str | None = None) -> LocatedError:
    return LocatedError(Located(shorten_path(path), "", None, {}, {}), [Problem((), message, hint)])
