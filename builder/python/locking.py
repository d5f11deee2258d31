"""Environments become rows of the lock: every wheel by name and hash."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Store
from builder.debian.lock import Lock, LockedEnvironment, LockedPackage, LockedWheel
from builder.definition.environments import ResolvedEnvironment
from builder.definition.requirements import normalise
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.python.choose import HOW_TO_MAKE, Chosen, NotChosen, choose_wheels
from builder.python.complain import make_complaint
from builder.python.fetch import fetch_chosen, locate_wheels, open_uv
from builder.python.target import Target, find_target
from builder.python.uv import OUTPUT, IndexUnavailable, ResolveError, Uv, Yanked

IMAGE = "image"
_OTHER_VERSION = "take another version; who published it took this one back"


@dataclass(frozen=True)
class Locked:
    """The environments of a definition as a lock has them."""

    environments: tuple[LockedEnvironment, ...] = ()
    wheels: tuple[LockedWheel, ...] = ()


def list_all(resolved: Resolved | ResolvedContainer) -> Iterator[tuple[str, ResolvedEnvironment]]:
    """Every environment with the lock's group that it belongs to."""
    yield from ((IMAGE, environment) for environment in resolved.python)
    for container in resolved.containers if isinstance(resolved, Resolved) else ():
        if isinstance(container.image, ResolvedContainer):
            group = container.image.package_set.name
            yield from ((group, environment) for environment in container.image.python)


def find_unlisted(lock: Lock, resolved: Resolved | ResolvedContainer, store: Store, console: Console) -> list[str]:
    """The wheels of a lock that the index does not have with the same hash any more, or that are yanked, with why.

    Raises:
        SourceError: the index does not answer.
    """
    problems = []
    groups = lock.list_groups()
    for group, environment in list_all(resolved):
        uv = open_uv(require_target(environment, groups.get(group, ()), resolved.arch), store, console)
        wanted = [
            Chosen(wheel.name, wheel.version, wheel.file, wheel.sha256, wheel.size, "")
            for wheel in lock.list_wheels(group, environment.name)
        ]
        try:
            yanked = locate_wheels(wanted, environment, uv)[1]
        except IndexUnavailable:
            raise
        except (InputError, SourceError):
            # One by one, to say which.
            yanked = []
            for row in wanted:
                try:
                    yanked += locate_wheels([row], environment, uv)[1]
                except IndexUnavailable:
                    raise
                except (InputError, SourceError):
                    problems.append(f"{row.file}: the index does not have it with this hash")
        problems += [f"{y.name} {y.version}: is yanked{f' ({y.reason})' if y.reason else ''}" for y in yanked]
    return problems


def list_environments(
    resolved: Resolved | ResolvedContainer, groups: Mapping[str, Sequence[LockedPackage]]
) -> tuple[LockedEnvironment, ...]:
    """What a lock would have for the environments of a definition, given the packages of its groups.

    Raises:
        InputError: an environment has no Python to run in.
    """
    environments = {}
    for group, environment in list_all(resolved):
        target = require_target(environment, groups.get(group, ()), resolved.arch)
        environments[group, environment.name] = LockedEnvironment(
            group, environment.name, hash_environment(environment, target)
        )
    return tuple(environments.values())


def require_target(environment: ResolvedEnvironment, packages: Sequence[LockedPackage], arch: str) -> Target:
    """What an environment's wheels are chosen for.

    Raises:
        InputError: nothing in the image could run them.
    """
    try:
        return find_target(packages, arch, environment.name)
    except InputError as error:
        raise make_complaint(environment, error.what, error.hint) from error


def hash_environment(environment: ResolvedEnvironment, target: Target) -> str:
    """A hash over all that decides which wheels are in an environment, but for what indexes have."""
    wanted, constraints = (
        [[requirement.text, sorted(requirement.hashes)] for requirement in some]
        for some in (environment.requirements.wanted, environment.requirements.constraints)
    )
    recipe = {
        "wanted": wanted,
        "constraints": constraints,
        "lock": hash_file(environment.lock) if environment.lock else "",
        "extras": sorted(environment.extras),
        "links": [[path.name, hash_file(path)] for path in list_links(environment)],
        "target": [target.version, target.glibc, target.machine],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def list_links(environment: ResolvedEnvironment) -> list[Path]:
    """The wheels in the environment's own directories."""
    return [path for directory in environment.find_links for path in sorted(directory.glob("*.whl"))]


def lock_environments(
    resolved: Resolved | ResolvedContainer,
    groups: Mapping[str, Sequence[LockedPackage]],
    store: Store,
    console: Console,
    *,
    old: Sequence[LockedWheel] = (),
    update: Sequence[str] | None = (),
) -> Locked:
    """Resolve every environment against the index of the day.

    Args:
        groups: the packages of the lock's groups.
        old: wheels that keep their version where that can be.
        update: distributions that do not; ``None`` for all.

    Raises:
        InputError: there is no set of wheels that satisfies an environment, shown at its line.
        SourceError: the index does not answer.
        CapabilityError: uv is not there.
    """
    environments = list_environments(resolved, groups)
    wheels: list[LockedWheel] = []
    done = set()
    for group, environment in list_all(resolved):
        if (group, environment.name) in done:  # a container that is in the image twice
            continue
        done.add((group, environment.name))
        target = require_target(environment, groups.get(group, ()), resolved.arch)
        kept = [wheel for wheel in old if (wheel.group, wheel.environment) == (group, environment.name)]
        with console.open_step(f"resolve Python environment {environment.name}"):
            chosen = resolve_environment(environment, target, store, console, kept=kept, update=update)
            sizes = fetch_chosen([wheel for wheel in chosen if not wheel.size], store, console)
        wheels += [
            LockedWheel(group, environment.name, c.name, c.version, c.file, c.sha256, c.size or sizes[c.sha256])
            for c in chosen
        ]
    return Locked(environments, tuple(wheels))


def resolve_environment(
    environment: ResolvedEnvironment,
    target: Target,
    store: Store,
    console: Console,
    *,
    kept: Sequence[LockedWheel] = (),
    update: Sequence[str] | None = (),
) -> list[Chosen]:
    """The wheels of an environment.

    Raises:
        InputError, SourceError, CapabilityError: see :func:`lock_environments`.
    """
    uv = open_uv(target, store, console)
    try:
        with tempfile.TemporaryDirectory(prefix="build-os-python-") as directory:
            chosen, yanked = _resolve(environment, uv, Path(directory), kept, update)
    except ResolveError as error:
        raise _explain(environment, target, error) from error
    except NotChosen as error:
        raise make_complaint(environment, error.what, error.hint, about=error.name) from error
    except InputError as error:
        raise make_complaint(environment, error.what, error.hint) from error
    _refuse_yanked(environment, yanked, chosen)
    _refuse_two_names(environment, chosen)
    return chosen


def _resolve(
    environment: ResolvedEnvironment,
    uv: Uv,
    scratch: Path,
    kept: Sequence[LockedWheel],
    update: Sequence[str] | None,
) -> tuple[list[Chosen], list[Yanked]]:
    target, requirements = uv.target, environment.requirements
    if environment.lock is not None:
        text = (
            uv.export(environment.lock, environment.extras, scratch)
            if environment.lock.name == "uv.lock"
            else environment.lock.read_text(encoding="utf-8")
        )
        extras = () if environment.lock.name == "uv.lock" else environment.extras
        return locate_wheels(choose_wheels(text, target, extras=extras), environment, uv)
    wanted = "".join(f"{requirement.text}\n" for requirement in requirements.wanted)
    constraints = "".join(f"{constraint.text}\n" for constraint in requirements.constraints)
    hashes = {requirement.name: requirement.hashes for requirement in requirements.wanted if requirement.hashes}
    if hashes:
        text, yanked = uv.compile(
            wanted, constraints, environment.find_links, scratch, with_dependencies=False, any_platform=True
        )
        return choose_wheels(text, target, hashes=hashes), yanked
    if kept and update is not None:
        (scratch / OUTPUT).write_text(_format_kept(kept), encoding="utf-8")
    # What else is updated are Debian's packages, whose names may be none of Python's.
    names = {wheel.name for wheel in kept}
    fresh = None if update is None else [name for text in update if (name := normalise(text)) in names]
    text, yanked = uv.compile(wanted, constraints, environment.find_links, scratch, upgrade=fresh)
    return choose_wheels(text, target), yanked


def _format_kept(kept: Sequence[LockedWheel]) -> str:
    """Wheels of a lock in the form in which uv takes them for preferences."""
    lines = ['lock-version = "1.0"', 'created-by = "build-os"']
    for wheel in kept:
        file = json.dumps(f"https://localhost/{wheel.file}")
        lines += [
            "[[packages]]",
            f"name = {json.dumps(wheel.name)}",
            f"version = {json.dumps(wheel.version)}",
            f"wheels = [{{ url = {file}, hashes = {{ sha256 = {json.dumps(wheel.sha256)} }} }}]",
        ]
    return "\n".join([*lines, ""])


def _explain(environment: ResolvedEnvironment, target: Target, error: ResolveError) -> InputError:
    """What uv says, at the line that asks for it."""
    name = error.without_wheel
    said = [line.strip().removeprefix("cause: ") for line in error.said.splitlines()]
    why = " ".join(line for line in said if line and not line.startswith(("error:", "hint:", "warning:", "Resolved")))
    if name:
        message = (
            f"{name} has no wheel for Python {target.version} on {target.machine}, and an image is made of wheels alone"
        )
        return make_complaint(environment, f"{message} ({why})", HOW_TO_MAKE.format(name), about=name)
    about = next(
        (requirement.name for requirement in environment.requirements.wanted if f"{requirement.name} " in f"{why} "), ""
    )
    return make_complaint(environment, why or error.said.strip(), about=about)


def _refuse_yanked(environment: ResolvedEnvironment, yanked: Sequence[Yanked], chosen: Sequence[Chosen]) -> None:
    names = {wheel.name for wheel in chosen}
    for wheel in yanked:
        if wheel.name in names:
            why = f" ({wheel.reason})" if wheel.reason else ""
            message = f"{wheel.name} {wheel.version} is yanked{why}"
            raise make_complaint(environment, message, _OTHER_VERSION, about=wheel.name)


def _refuse_two_names(environment: ResolvedEnvironment, chosen: Sequence[Chosen]) -> None:
    """One distribution, one name: what normalises alike is one, and a file of another name is somebody else's."""
    from builder.python.wheel import parse_wheel_name  # noqa: PLC0415 - only where something is resolved

    seen: dict[str, Chosen] = {}
    for wheel in chosen:
        name = parse_wheel_name(wheel.file).name
        if name != wheel.name:
            raise make_complaint(
                environment, f"{wheel.file} is offered as {wheel.name}, and is of {name}", about=wheel.name
            )
        if name in seen:
            raise make_complaint(
                environment, f"{name} would be in it twice: {seen[name].file}, {wheel.file}", about=name
            )
        seen[name] = wheel
