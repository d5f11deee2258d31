"""What apps name, looked up in the wheels that are locked for them: known before anything is built."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.errors import InputError
from builder.core.store import Store
from builder.core.suggest import make_suggestion
from builder.debian.lock import LockedWheel
from builder.definition.resolved_app import ResolvedApp
from builder.python.errors import WheelError
from builder.python.scripts import parse_entry_points

GROUP = "image"  # whose wheels the apps of a system run with


@dataclass
class _Contents:
    """What wheels bring: scripts by name, and files by the path that Python imports them by."""

    scripts: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def has_module(self, name: str) -> bool:
        path = name.replace(".", "/")
        return any(file.startswith((f"{path}/", f"{path}.")) for file in self.files)


def require_entry_points(apps: Iterable[ResolvedApp], wheels: Iterable[LockedWheel], store: Store) -> None:
    """Every script and module that an app runs in an environment of its own is in a wheel, or among the app's files.

    An app is passed over whose wheels are not all in the store yet.

    Raises:
        InputError: with the value of each that is nowhere.
    """
    wheels = [wheel for wheel in wheels if wheel.group == GROUP]
    problems: dict[str, str] = {}
    for app in apps:
        own = [wheel for wheel in wheels if wheel.environment == app.app.python]
        if not own or not all(store.has_blob(wheel.sha256, wheel.size) for wheel in own):
            continue
        contents = _Contents(files={*app.files})
        for wheel in own:
            _read(store.locate_blob(wheel.sha256), contents)
        entry, colon, _ = (app.entrypoint or "").partition(":")
        module = app.app.module or (entry if colon else "")
        written = app.app.module or app.app.entrypoint or ""
        if not module and entry not in contents.scripts:
            hint = make_suggestion(entry, sorted(contents.scripts))
            problems[written] = f"no wheel of '{app.app.python}' has a script '{entry}'{hint}"
        elif module and module.partition(".")[0] not in sys.stdlib_module_names and not contents.has_module(module):
            problems[written] = f"no wheel of '{app.app.python}' has a module '{module}', nor has the app's directory"
    if problems:
        raise InputError("apps cannot start", details=list(problems.values()), names=problems)


def _read(wheel: Path, contents: _Contents) -> None:
    """Add what a wheel has; one that cannot be read is complained about when it is unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            contents.files.update(names)
            for name in names:
                parts = name.split("/")
                if len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "entry_points.txt":
                    entries = parse_entry_points(archive.read(name).decode("utf-8", "replace"))
                    contents.scripts.update(entry.name for entry in entries)
                elif len(parts) == 3 and parts[0].endswith(".data") and parts[1] == "scripts":
                    contents.scripts.add(parts[2])
                elif len(parts) > 2 and parts[0].endswith(".data") and parts[1] in ("purelib", "platlib"):
                    contents.files.add("/".join(parts[2:]))
    except (OSError, zipfile.BadZipFile, WheelError):
        return
