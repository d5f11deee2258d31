"""Where the features, overlays and units are that a definition names: the user's own first, then the shipped.

A name is looked for beside the definition, in the directories above it up to the repository's root (one
directory up, if there is no repository), and last in what comes with build-os. The first find wins, so a user
replaces a shipped overlay by a directory of the same name.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from builder.core import seen
from builder.core.once import remember_answer
from builder.definition.findings import shorten_path
from firstboot.config.located import Problem, find_suggestion


class DirectoryKind(enum.StrEnum):
    """What can be named. The values are the directories they are in."""

    FEATURE = "features"
    OVERLAY = "overlays"
    UNITS = "units"


_NOUN = {DirectoryKind.FEATURE: "feature", DirectoryKind.OVERLAY: "overlay", DirectoryKind.UNITS: "directory of units"}


@dataclass(frozen=True)
class NamedDirectory:
    """An overlay or a directory of units, and what it is called."""

    name: str
    path: Path


@dataclass(frozen=True)
class SearchPath:
    """Directories that may hold ``features/``, ``configs/features/``, ``overlays/``, ``units/``, in order."""

    roots: tuple[Path, ...]

    @remember_answer
    def find(self, part: DirectoryKind, name: str) -> Path | None:
        """The file of a feature or the directory of an overlay or of units."""
        for place in self._places(part):
            seen.note(place)  # what appears there later may come first
            path = place / (f"{name}.yaml" if part is DirectoryKind.FEATURE else name)
            if path.is_file() if part is DirectoryKind.FEATURE else path.is_dir():
                return path
        return None

    def list_names(self, part: DirectoryKind) -> tuple[str, ...]:
        """All names that can be found, sorted."""
        names = set()
        for place in self._places(part):
            if part is DirectoryKind.FEATURE:
                names |= {path.stem for path in place.glob("*.yaml") if path.is_file()}
            elif place.is_dir():
                names |= {path.name for path in place.iterdir() if path.is_dir()}
        return tuple(sorted(names))

    def make_unknown_name_problem(self, part: DirectoryKind, name: str, path: tuple[str | int, ...]) -> Problem:
        """The complaint about a name that is not found: the nearest name, and where was looked."""
        places = [shorten_path(place) for place in self._places(part) if place.is_dir()]
        file = f"features/{name}.yaml" if part is DirectoryKind.FEATURE else f"{part}/{name}"
        where = f"looked in {', '.join(places)}" if places else f"make {file} beside the definition"
        near = find_suggestion(name, self.list_names(part))
        return Problem(path, f"there is no {_NOUN[part]} '{name}'", f"{near} ({where})" if near else where)

    def _places(self, part: DirectoryKind) -> tuple[Path, ...]:
        """Directories to look in, each once."""
        inner = ("features", "configs/features") if part is DirectoryKind.FEATURE else (part.value,)
        return tuple(dict.fromkeys(root / name for root in self.roots for name in inner))


def find_shipped_root() -> Path:
    """What comes with build-os: ``shipped/`` in a wheel's package, the repository itself in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "shipped"
    return inside if inside.is_dir() else package.parent


@remember_answer
def make_search_path(definition: Path, shipped: Path | None = None) -> SearchPath:
    """Where the names in a definition are looked for.

    ``shipped`` replaces :func:`find_shipped_root`, for tests.
    """
    here = definition.absolute().parent
    above = [here, *here.parents]
    repository = None
    for number, path in enumerate(above):
        seen.note(path / ".git")
        if (path / ".git").exists():
            repository = number
            break
    own = above[:2] if repository is None else above[: repository + 1]
    return SearchPath(tuple(dict.fromkeys([*own, shipped or find_shipped_root()])))
