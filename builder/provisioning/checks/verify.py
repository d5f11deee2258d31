"""``systemd-analyze verify`` for the units of a config, by the systemd that the image has, on a copy of its units."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

from builder.core.console import QuietConsole
from builder.core.tools import Tools
from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.checks.own_texts import make_warning
from builder.provisioning.checks.units import EXEC
from firstboot.apply.units import UNIT_PATH
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.text import Path, Problem

PROGRAM = "systemd-analyze"
SUFFIXES = (".service", ".socket", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice")
# Said better elsewhere, with what to do about it.
_SAID = re.compile(r"is not executable|Unit \S+ not found|not found\.$|Failed to load|has a bad unit file")
_AT_LINE = re.compile(r"(?P<file>/\S+?):(?P<line>\d+): (?P<message>.*)")
SECONDS = 60
STAND_IN = "/usr/bin/true"  # what units that podman will make start, as far as systemd needs to know


class Verified(NamedTuple):
    """What came of it. ``note`` says why nothing was looked at, if so."""

    problems: tuple[Problem, ...]
    note: str | None = None


def verify(image: ConfiguredImage) -> Verified:
    """Let systemd read the config's units and say what it would ignore or refuse."""
    units = [(index, unit) for index, unit in enumerate(image.config.systemd.units) if unit.contents or unit.dropins]
    names = [unit.name for _, unit in units if unit.name.endswith(SUFFIXES) and not unit.mask]
    if not names:
        return Verified(())
    root = image.root.facts.tools
    tools = Tools(root, QuietConsole())
    if not root.is_dir() or tools.find(PROGRAM) is None:
        return Verified((), f"units were not checked by systemd itself: the tools tree {root} is not on this machine")
    with tempfile.TemporaryDirectory(prefix="build-os-verify-") as scratch:
        # A directory of its own inside, or the mode of the temporary one is in the way of an ordinary user.
        directory = FilePath(scratch, "root")
        files = _lay_out(image, directory)
        instances = [_instance(name) for name in names]
        done = subprocess.run(
            tools.make_argv(PROGRAM, "verify", "--man=no", "--recursive-errors=no", f"--root={directory}", *instances),
            env=tools.make_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        if done.returncode == 125:
            return Verified((), f"units were not checked by systemd itself: {lines[-1] if lines else 'it cannot run'}")
        return Verified(tuple(_problems(lines, str(directory), files, image)))


def _instance(name: str) -> str:
    """A template is checked as one of its instances."""
    return name.replace("@.", "@example.")


def _lay_out(image: ConfiguredImage, directory: FilePath) -> dict[str, Path]:
    """Write units of image and config, and something for each program that they start.

    Returns:
        The places in the config of the files that it made, by path inside the root.
    """
    made: dict[str, Path] = {}
    for path, text in image.root.facts.texts.items():
        if path.startswith(tuple(f"{directory}/" for directory in UNIT_PATH)):
            _write(directory, path, text)
    for index, unit in enumerate(image.config.systemd.units):
        path = f"{UNIT_DIRECTORY}/{unit.name}"
        if unit.contents:
            _write(directory, path, unit.contents)
            made[path] = ("systemd", "units", index, "contents")
        for position, dropin in enumerate(unit.dropins):
            if dropin.contents:
                _write(directory, f"{path}.d/{dropin.name}", dropin.contents)
                made[f"{path}.d/{dropin.name}"] = ("systemd", "units", index, "dropins", position, "contents")
    for name in image.made_of_quadlets:
        _write(directory, f"{UNIT_PATH[-1]}/{name}", f"[Service]\nExecStart={STAND_IN}\n")
    _write(directory, STAND_IN, "#!/bin/sh\n", 0o755)
    for unit_text in (*image.own_units, *image.image_units):
        for _, value in unit_text.list_values("Service", *EXEC):
            program = value.lstrip("@-:+!|").partition(" ")[0]
            if program.startswith("/") and "%" not in program and image.has(program):
                _write(directory, program, "#!/bin/sh\n", 0o755)
    return made


def _write(directory: FilePath, path: str, text: str, mode: int = 0o644) -> None:
    target = directory / path.lstrip("/")
    if ".." in target.parts:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", errors="surrogatepass")
    target.chmod(mode)


def _problems(
    lines: Sequence[str], directory: str, files: Mapping[str, Path], image: ConfiguredImage
) -> Iterator[Problem]:
    """systemd's lines, at what the user wrote; lines about the image's own units are not the user's."""
    texts = {unit.at: unit.text for unit in image.own_units}
    by_name = {path.rpartition("/")[2]: at for path, at in files.items()}
    seen = set()
    for line in lines:
        match = _AT_LINE.match(line.strip())
        if match is not None:
            path = match["file"].removeprefix(directory)
            at, message, number = files.get(path), f"systemd says: {match['message']}", int(match["line"])
        else:
            name, _, rest = line.strip().partition(": ")
            at, message, number = by_name.get(name.replace("@example.", "@.")), f"systemd says: {rest}", 0
        if at is not None and not _SAID.search(line) and (at, number, message) not in seen:
            seen.add((at, number, message))
            yield make_warning(at, texts[at], number, message)
