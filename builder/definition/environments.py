"""Python environments of a definition: from names to files and requirements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core import seen
from builder.definition.findings import Findings, shorten_path
from builder.definition.requirements import (
    Refused,
    Requirement,
    Requirements,
    parse_requirement,
    read_project,
    read_requirements,
    require_known_option,
)
from firstboot.config.located import Located, LocatedError, Problem

if TYPE_CHECKING:
    from builder.definition.model import PythonEnvironment

LOCKS = ("uv.lock", "pylock.toml")
NONE = Requirements()


@dataclass(frozen=True)
class ResolvedEnvironment:
    """An environment, ready to be locked.

    Attributes:
        file: the definition or feature that has it.
        requirements: what it asks for; of a project with a lock file, what the project itself names.
        lock: a ``uv.lock`` or ``pylock.toml`` that has decided already.
        extras: of the project.
        find_links: directories with wheels.
        trim: what is left out: ``tests``, ``stubs``, ``sources``, ``bytecode``.
        imports: modules that the build imports, with all below them.
        absent_libraries: shared libraries that may be missing.
    """

    name: str
    file: Path
    requirements: Requirements = NONE
    lock: Path | None = None
    extras: tuple[str, ...] = ()
    find_links: tuple[Path, ...] = ()
    trim: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    absent_libraries: tuple[str, ...] = ()

    @property
    def requested(self) -> frozenset[str]:
        """The distributions that somebody asked for by name."""
        return frozenset(requirement.name for requirement in self.requirements.wanted)


def find_environments(
    layers: Iterable[tuple[Located, Path, Mapping[str, PythonEnvironment]]], findings: Findings
) -> tuple[ResolvedEnvironment, ...]:
    """The environments of features and definition; of one name the last counts.

    Args:
        layers: of each file its text, its path and what it says under ``python``.
    """
    by_name: dict[str, ResolvedEnvironment] = {}
    for located, path, environments in layers:
        for name, environment in environments.items():
            resolved = _resolve(name, environment, located, path, findings)
            if resolved is not None:
                by_name[name] = resolved
    return tuple(by_name[name] for name in sorted(by_name))


def _resolve(
    name: str, environment: PythonEnvironment, located: Located, path: Path, findings: Findings
) -> ResolvedEnvironment | None:
    here = ("python", name)
    given = [key for key in ("requirements", "project", "lock") if getattr(environment, key) not in (None, ())]
    if len(given) != 1:
        message = (
            f"{' and '.join(given)} are set, and one of them says what is in it" if given else "it asks for nothing"
        )
        findings.add(located, [Problem(here, message, "set requirements, project or lock", on_key=True)])
        return None
    directory = path.absolute().parent
    links = []
    for index, link in enumerate(environment.find_links):
        links.append(directory / link)
        if not links[-1].is_dir():
            message = f"there is no directory {shorten_path(links[-1])}"
            findings.add(located, [Problem((*here, "find_links", index), message)])
    if environment.extras and environment.project is None and environment.lock is None:
        message = "extras are a project's; of a requirement they are written behind its name"
        findings.add(located, [Problem((*here, "extras"), message, "like uvicorn[standard]")])
    if "bytecode" in environment.trim and not environment.imports:
        message = "what is never imported is known only where something is"
        findings.add(located, [Problem((*here, "trim"), message, "name under imports what the app imports")])
    try:
        requirements, lock = _read(environment, directory)
    except LocatedError as error:
        findings.add_error(error)
        return None
    except _Misplaced as error:
        findings.add(located, [Problem((*here, *place), message, hint) for place, message, hint in error.problems])
        return None
    problem = _find_mixed_hashes(requirements)
    if problem is not None:
        message = f"'{problem.text}' has no hash, and others have"
        findings.add(located, [Problem((*here, "requirements"), message, "with hashes every requirement has one")])
        return None
    return ResolvedEnvironment(
        name,
        path.absolute(),
        requirements,
        lock,
        environment.extras,
        tuple(links),
        environment.trim,
        environment.imports,
        environment.absent_libraries,
    )


_Trouble = tuple[tuple[str | int, ...], str, str | None]  # a place below the environment, what is wrong there, a hint


class _Misplaced(Exception):
    """What is wrong at places below the environment."""

    def __init__(self, *problems: _Trouble) -> None:
        super().__init__(*problems)
        self.problems = problems


def _read(environment: PythonEnvironment, directory: Path) -> tuple[Requirements, Path | None]:
    if isinstance(environment.requirements, str):
        path = directory / environment.requirements
        if not path.is_file():
            message = f"there is no file {shorten_path(path)}"
            raise _Misplaced((("requirements",), message, "a list names requirements here"))
        return read_requirements(path), None
    if environment.requirements:
        return Requirements(_parse_inline(environment.requirements)), None
    if environment.lock is not None:
        named = directory / environment.lock
        if not named.is_file():
            raise _Misplaced((("lock",), f"there is no file {shorten_path(named)}", None))
        name = named.name
        if name != "uv.lock" and not (name.startswith("pylock.") and name.endswith(".toml")):
            message = f"{name} is no lock file that is known"
            raise _Misplaced((("lock",), message, "uv.lock, pylock.toml or pylock.NAME.toml"))
        return _read_beside(named, environment.extras), named
    assert environment.project is not None, "one of the three is set"
    project = directory / environment.project
    if not (project / "pyproject.toml").is_file():
        raise _Misplaced((("project",), f"there is no {shorten_path(project / 'pyproject.toml')}", None))
    for name in LOCKS:
        seen.note(project / name)
    lock = next((project / name for name in LOCKS if (project / name).is_file()), None)
    return read_project(project / "pyproject.toml", environment.extras), lock


def _read_beside(lock: Path, extras: tuple[str, ...]) -> Requirements:
    """What the project of a lock file asks for, if it is there."""
    project = lock.parent / "pyproject.toml"
    seen.note(project)
    return read_project(project, extras) if project.is_file() else Requirements()


def _parse_inline(lines: Iterable[str]) -> tuple[Requirement, ...]:
    requirements: list[Requirement] = []
    refused: list[_Trouble] = []
    for index, line in enumerate(lines):
        try:
            if line.startswith("-"):
                require_known_option(line.split()[0].partition("=")[0])
                raise Refused("this is an option of pip", "name a requirements file, or write requirements alone")
            requirements.append(parse_requirement(line))
        except Refused as error:
            refused.append((("requirements", index), str(error), error.hint))
    if refused:
        raise _Misplaced(*refused)
    return tuple(requirements)


def _find_mixed_hashes(requirements: Requirements) -> Requirement | None:
    """A requirement without hashes where others have some: pip refuses that as well."""
    bare = [requirement for requirement in requirements.wanted if not requirement.hashes]
    return bare[0] if bare and len(bare) < len(requirements.wanted) else None
