"""A definition's names become a lock: every deb, by hash."""

from __future__ import annotations

import difflib
import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from builder.artifacts.locking import describe_artifacts, fetch_artifacts, find_stale, list_artifacts, lock_artifacts
from builder.core.architecture import Arch, find_host_arch
from builder.core.console import Console
from builder.core.errors import CapabilityError, InputError, SourceError
from builder.core.store import Store
from builder.debian.decision_records import make_locked_decisions
from builder.debian.lock import (
    Lock,
    LockedDecision,
    LockedEnvironment,
    LockedPackage,
    LockedRelease,
    LockError,
    compare_decisions,
    parse_date,
)
from builder.debian.mirror import Mirrors, find_mirrors, find_snapshots, list_default_suites
from builder.definition.extensions import load_extension
from builder.definition.load import load, load_container, read_kind
from builder.definition.requirements import normalise
from builder.definition.resolved import (
    PackageSet,
    RegistryImage,
    Resolved,
    ResolvedContainer,
    hash_package_sets,
    list_containers,
    list_package_sets,
    parse_package_name,
)
from builder.definition.where import point_at_names
from builder.images.locking import fetch_images, find_stale_images, list_images, lock_images
from builder.stages.packages import make_decision
from builder.toolstree import EXCLUDE, list_tool_packages, open_tools
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.core.tools import Tools
    from builder.debian import release
    from builder.debian.archive import PackageArchive
    from builder.debian.index import Package
    from builder.debian.resolve import ResolveRequest
else:
    release = import_lazily("builder.debian.release")

# The solver and the network are imported where something is resolved: most builds find their lock as it should be.

SUFFIX = ".lock"
# "no" accepts an index whose time is over: for archives that no longer change, and machines without a clock.
CHECK_VALID_UNTIL = "BUILD_OS_CHECK_VALID_UNTIL"


def make_lock_path(definition: Path) -> Path:
    """``os.yaml`` is locked by ``os.lock``."""
    return definition.with_suffix(SUFFIX)


def locate_lock(
    resolved: Resolved | ResolvedContainer, variant: str = "", load_lock: Callable[[Path], Lock] = Lock.load
) -> Path:
    """The lock of a definition, or of a variant of it, which has one of its own (``os.arm64.lock``) where the
    definition's does not fit it."""
    path = make_lock_path(resolved.path)
    if not variant or (path.exists() and load_lock(path).recipe_sha256 == hash_recipe(resolved)):
        return path
    return path.with_name(f"{path.stem}.{variant}{SUFFIX}")


def hash_recipe(resolved: Resolved | ResolvedContainer) -> str:
    """The hash that ties a lock to what was asked for, the tools' names included."""
    text = "\n".join([hash_package_sets(resolved), *list_tool_packages(resolved.arch), *EXCLUDE])
    return hashlib.sha256(text.encode()).hexdigest()


def load_any(path: Path) -> Resolved | ResolvedContainer:
    """A definition, resolved; an extension's as the system with all that it brings, which is what its lock is of.

    Raises:
        InputError: it has problems; shows them all.
    """
    match read_kind(path):
        case "container":
            return load_container(path).resolved
        case "extension":
            return load_extension(path).resolved.whole
        case "system":
            return load(path).resolved


def list_decisions(resolved: Resolved | ResolvedContainer) -> tuple[LockedDecision, ...]:
    """What the definition decides about maintainer scripts, for each of the lock's groups."""
    scripts = {"image": resolved.scripts}
    for container in list_containers(resolved):
        if container is not resolved:
            scripts[container.package_set.name] = container.scripts
    return make_locked_decisions(
        {group: {name: make_decision(row) for name, row in decided.items()} for group, decided in scripts.items()}
    )


def require_current(lock: Lock, resolved: Resolved | ResolvedContainer, where: str) -> None:
    """Refuse a lock that is not of this definition as it is now.

    Raises:
        LockError: the definition asks for other packages, brings other images, or decides otherwise about scripts.
        InputError: an image that it brings is no sound one.
    """
    lock.require_recipe(hash_recipe(resolved), where)
    if stale := find_stale_images(lock, resolved):
        raise LockError(
            f"{where} is stale: a container's image is not the one that it names",
            details=stale,
            hint="'build-os lock' takes the image that is there now",
        )
    lock.require_decisions(list_decisions(resolved), where)
    lock.require_environments(list_locked_environments(lock, resolved), where)
    if stale := find_stale(lock, resolved):
        raise LockError(
            f"{where} is stale: the definition has other artifacts than when it was made",
            details=stale,
            hint="'build-os lock' brings it up to date; every package keeps its version",
        )


def list_locked_environments(lock: Lock, resolved: Resolved | ResolvedContainer) -> tuple[LockedEnvironment, ...]:
    """What a lock with these packages would have for the definition's Python environments.

    Raises:
        InputError: one has no Python to run in.
    """
    if not has_environments(resolved):
        return ()
    from builder.python.locking import list_environments  # noqa: PLC0415 - most images have none

    return list_environments(resolved, lock.list_groups())


def has_environments(resolved: Resolved | ResolvedContainer) -> bool:
    """Whether a definition has Python environments, of its own or in containers."""
    inner = [container.image for container in resolved.containers] if isinstance(resolved, Resolved) else []
    return bool(resolved.python or any(isinstance(image, ResolvedContainer) and image.python for image in inner))


def has_current_environments(lock: Lock, resolved: Resolved | ResolvedContainer) -> bool:
    """Whether the lock's wheels are for the definition's environments as they are now."""
    return lock.environments == tuple(
        sorted(list_locked_environments(lock, resolved), key=lambda row: (row.group, row.name))
    )


def renew_environments(
    lock: Lock,
    resolved: Resolved | ResolvedContainer,
    store: Store,
    console: Console,
    *,
    old: Lock | None = None,
    update: Sequence[str] | None = (),
) -> Lock:
    """The lock with its Python environments resolved anew; wheels of ``old`` keep their version where they can.

    Args:
        old: by default the lock itself.
        update: distributions that do not keep it; ``None`` for all.

    Raises:
        InputError, SourceError, CapabilityError: see :func:`builder.python.locking.lock_environments`.
    """
    if not has_environments(resolved):
        return replace(lock, environments=(), wheels=())
    from builder.python.locking import lock_environments  # noqa: PLC0415 - most images have none

    kept = (old or lock).wheels
    locked = lock_environments(resolved, lock.list_groups(), store, console, old=kept, update=update)
    return replace(lock, environments=locked.environments, wheels=locked.wheels)


def fetch_locked_wheels(
    lock: Lock, resolved: Resolved | ResolvedContainer, store: Store, console: Console, *, offline: bool = False
) -> None:
    """Get every wheel of the lock into the store.

    Raises:
        SourceError: one cannot be had, is not what the lock says, or is missing while ``offline``.
    """
    if not lock.wheels:
        return
    from builder.python.fetch import fetch_wheels  # noqa: PLC0415 - as above
    from builder.python.locking import list_all, require_target  # noqa: PLC0415

    groups = lock.list_groups()
    environments = {
        (group, environment.name): (environment, require_target(environment, groups.get(group, ()), resolved.arch))
        for group, environment in list_all(resolved)
    }
    fetch_wheels(lock.wheels, environments, store, console, offline=offline)


def describe_changes(old: Lock | None, new: Lock) -> list[str]:
    """What is not the same in two locks of a definition: packages with their versions, images, decisions."""
    from builder.debian.lockdiff import compare_locks, compare_wheels  # noqa: PLC0415 - most builds find their lock as it should be

    if old is None:
        return []
    lines = []
    for change in compare_locks(old, new):
        before, after = (package.version if package else None for package in (change.old, change.new))
        if before != after:
            where = "" if change.groups[0] == "image" else f" ({', '.join(change.groups)})"
            lines.append(f"{change.name}: {before or 'not there'} -> {after or 'gone'}{where}")
    return [
        *lines,
        *describe_images(old, new),
        *describe_artifacts(old, new),
        *map(str, compare_wheels(old, new)),
        *map(str, compare_decisions(old.decisions, new.decisions)),
    ]


def describe_images(old: Lock, new: Lock) -> list[str]:
    """The container images that are not the same in two locks, each a line."""
    before, after = ({image.name: image for image in lock.images} for lock in (old, new))
    lines = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or one.digest != other.digest:
            lines.append(
                f"image of {name}: {one.digest if one else 'not there'} -> {other.digest if other else 'gone'}"
            )
    return lines


def choose_mirrors(resolved: Resolved | ResolvedContainer, releases: Sequence[LockedRelease] = ()) -> Mirrors:
    """Where to download from; for files of a lock of these ``releases`` snapshots as well, if some are named.

    Raises:
        CapabilityError: neither definition, environment nor apt name a mirror.
        InputError: a setting is no URL.
    """
    setting = resolved.mirrors if isinstance(resolved, Resolved) else ()
    mirrors = find_mirrors(setting, os.environ, list_default_suites(resolved.suite))
    dates = [(release.suite, parse_date(release.date)) for release in releases]
    return replace(mirrors, snapshots=find_snapshots(os.environ, dates))


def require_host_arch() -> Arch:
    """The architecture the tools run on.

    Raises:
        CapabilityError: we have no tools for it.
    """
    arch = find_host_arch()
    if arch is None:
        raise CapabilityError(
            f"build-os has no tools for {platform.machine()}", hint=f"build on one of: {', '.join(Arch)}"
        )
    return arch


def make_lock(
    resolved: Resolved | ResolvedContainer,
    store: Store,
    console: Console,
    *,
    newest: Lock | None = None,
    update: Sequence[str] | None = None,
) -> Lock:
    """Resolve every package set against the signed indexes of the day.

    Args:
        newest: a lock whose releases must not be undercut.
        update: packages that take the archive's version, with all they need; the others keep what ``newest`` has,
            unless that cannot be. ``None``: all take it.

    Raises:
        InputError: a package does not exist or cannot be installed together with another.
        SourceError: an index cannot be had or is not authentic.
    """
    from builder.debian.archive import lock_package, open_archive  # noqa: PLC0415 - see the top
    from builder.debian.fetch import fetch_packages  # noqa: PLC0415
    from builder.debian.held_packages import find_needed, hold_packages  # noqa: PLC0415
    from builder.debian.resolve import resolve  # noqa: PLC0415
    from builder.stages.base_packages import Bases, leave_out, require_fitting  # noqa: PLC0415

    mirrors = choose_mirrors(resolved)
    here = require_host_arch()
    suites = list_default_suites(resolved.suite)
    releases = newest.releases if newest is not None else ()
    freshness = _freshness()
    main = "image" if isinstance(resolved, Resolved) else f"container:{resolved.name}"
    old = newest.list_groups() if newest is not None and update is not None else {}
    before = {name: old.get("image" if name == main else name, ()) for name in (main, *old)}

    older = choose_mirrors(resolved, releases)

    def opened(arch: str) -> PackageArchive:
        return open_archive(mirrors, suites, arch, store, console, freshness, newest=releases)

    with console.open_step("read package indexes"):
        image = opened(resolved.arch)
        tools = image if here == resolved.arch else opened(here)

    def open_own_tools() -> Tools:
        fetch_packages(groups["tools"], lambda: older, store, console)
        return open_tools(groups["tools"], store, console)

    images = lock_images(resolved, store, console, newest, update)
    groups: dict[str, tuple[LockedPackage, ...]] = {}
    with console.open_step("resolve packages"), point_at_names(resolved):
        bases = Bases(
            {container.package_set.name: container for container in list_containers(resolved)},
            {row.name: row for row in images},
            store,
            lambda name: fetch_images(resolved, images, store, console, only=name),
            open_own_tools,
        )
        installed: dict[str, Sequence[Package]] = {}
        # The tools first: they may have to unpack what a container is made on.
        for wanted in sorted(list_package_sets(resolved), key=lambda package_set: package_set.name != "tools"):
            archive, request = _question(wanted, image, tools, resolved.arch)
            there = bases.find_installed(wanted.name, installed)
            request = leave_out(request, there, archive)
            packages = resolve(archive, request)
            if kept := before.get(wanted.name):
                free = find_needed(update or (), packages)
                kept = tuple(package for package in kept if package.name not in free)
                held = hold_packages(
                    archive, kept, store, console, lambda p: fetch_packages([p], lambda: older, store, console)
                )
                packages = resolve(held, request)
            require_fitting(wanted.name, packages, there)
            installed[wanted.name] = packages
            asked = tuple(text for text in wanted.packages if parse_package_name(text) not in there)
            _say_replaced(replace(wanted, packages=asked), archive, packages, console)
            groups[wanted.name] = tuple(lock_package(package) for package in packages)
    lock = Lock(
        recipe_sha256=hash_recipe(resolved),
        arch=resolved.arch,
        suite=resolved.suite,
        releases=image.list_locked_releases(),
        packages=groups.pop(main),
        tools=groups.pop("tools"),
        sets=groups,
        indexes=(*image.sources, *tools.sources),
        images=images,
        decisions=list_decisions(resolved),
        artifacts=lock_artifacts(resolved, store, console, newest, update),
    )
    lock = renew_environments(lock, resolved, store, console, old=newest, update=update)
    require_known(update or (), lock)
    return lock


def open_archive_of(lock: Lock, mirrors: Mirrors, store: Store, console: Console) -> PackageArchive:
    """The signed indexes that a lock was made from, as far as they can still be had.

    Raises:
        SourceError: one is not signed by who may.
        CapabilityError: the store cannot be written.
    """
    from builder.debian.archive import open_locked_archive  # noqa: PLC0415 - see the top

    return open_locked_archive(lock.releases, lock.indexes, mirrors, lock.arch, store, console, _freshness())


def require_proven(lock: Lock, resolved: Resolved | ResolvedContainer, store: Store, console: Console) -> None:
    """Look up every deb of a lock in signed indexes, those of the lock first and then today's.

    Args:
        store: one in which no list of packages is kept that somebody else made: :meth:`Store.make_store_apart`.

    Raises:
        SourceError: a deb is in none of them as the lock has it, or the lock's indexes are not signed by who may.
        LockError: its releases are of other suites than the definition's.
    """
    from builder.debian.archive import open_archive, open_locked_archive  # noqa: PLC0415 - see the top
    from builder.debian.proof import find_unproven  # noqa: PLC0415

    suites = list_default_suites(resolved.suite)
    foreign = sorted({release.suite for release in lock.releases} - set(suites))
    if foreign:
        raise LockError(
            f"the lock was made from {', '.join(foreign)}", hint=f"the definition's are {', '.join(suites)}"
        )
    mirrors = choose_mirrors(resolved, lock.releases)
    freshness = _freshness()
    archs = sorted({lock.arch, *(index.architecture for index in lock.indexes)})
    with console.open_step("read package indexes"):
        then = [
            open_locked_archive(lock.releases, lock.indexes, mirrors, arch, store, console, freshness) for arch in archs
        ]
        left = find_unproven(
            lock,
            then,
            lambda: [
                open_archive(mirrors, suites, arch, store, console, freshness, newest=lock.releases) for arch in archs
            ],
        )
    dates = {release.suite: release.date_text for archive in then for release in archive.releases}
    for release in lock.releases:
        when = dates.get(release.suite)
        console.note(
            f"{release.suite} of {when}: signed"
            if when
            else f"{release.suite} of {release.date}: no mirror has that index any more; looked in today's"
        )
    if left:
        raise SourceError(
            f"{len(left)} of {len(lock.list_all_packages())} debs are not what signed indexes say",
            details=[str(release) for release in left],
            hint="'build-os lock --update PACKAGE' takes what is signed today; BUILD_OS_SNAPSHOT finds older indexes",
        )
    console.note(f"{len(lock.list_all_packages())} debs: each is in a signed index with this hash")
    if lock.wheels:
        from builder.python.locking import find_unlisted  # noqa: PLC0415 - most images have none

        if unlisted := find_unlisted(lock, resolved, store, console):
            raise SourceError(
                f"{len(unlisted)} of {len(lock.wheels)} wheels are not what the Python index says",
                details=unlisted,
                hint="'build-os lock --update NAME' takes what is there today",
            )
        console.note(f"{len(lock.wheels)} wheels: the index has each with this hash, and none is yanked")


def require_verified(lock: Lock, resolved: Resolved | ResolvedContainer, store: Store, console: Console) -> None:
    """Verify what a lock has besides packages: images of registries and artifacts, by hash and by signature.

    What is not in the store is fetched.

    Raises:
        SourceError: something cannot be had, is not what the lock says, or is not signed as the definition wants it.
    """
    from builder.artifacts.place import verify_artifact  # noqa: PLC0415 - see the top
    from builder.artifacts.placed_artifact import list_placed  # noqa: PLC0415
    from builder.images.locked import find_locked_layout  # noqa: PLC0415

    fetch_images(resolved, lock.images, store, console)
    fetch_artifacts(resolved, lock, store, console)
    rows = {row.name: row for row in lock.images}
    images = [
        (rows[named.name], named.image) for named in list_images(resolved) if isinstance(named.image, RegistryImage)
    ]
    for row, image in images:
        find_locked_layout(row, image, store)
    artifacts = list_artifacts(resolved)
    for group in {row.group: None for row in artifacts}:
        for placed in list_placed([row.artifact for row in artifacts if row.group == group], lock, group):
            verify_artifact(placed, store.locate_blob(placed.sha256), store)
    if images or artifacts:
        console.note(
            f"{len(images)} images and {len(artifacts)} artifacts: each has this hash, and is signed by whom it must"
        )


def resolve_today(
    resolved: Resolved | ResolvedContainer, store: Store, console: Console, *, tools: bool = False
) -> tuple[LockedPackage, ...]:
    """The packages of a system's image, or of the tools that make it here, in today's archive.

    Raises:
        InputError: a package does not exist, or two exclude each other.
        SourceError: an index cannot be had or is not authentic.
        CapabilityError: no mirror is known.
    """
    from builder.debian.archive import lock_package, open_archive  # noqa: PLC0415 - see the top
    from builder.debian.resolve import resolve  # noqa: PLC0415

    suites = list_default_suites(resolved.suite)
    with console.open_step("read package indexes"):
        arch = require_host_arch() if tools else resolved.arch
        archive = open_archive(choose_mirrors(resolved), suites, arch, store, console, _freshness())
    wanted = next(package_set for package_set in list_package_sets(resolved) if (package_set.name == "tools") == tools)
    _, request = _question(wanted, archive, archive, resolved.arch)
    packages = resolve(archive, request)
    _say_replaced(wanted, archive, packages, console)
    return tuple(map(lock_package, packages))


def _say_replaced(wanted: PackageSet, archive: PackageArchive, packages: Sequence[Package], console: Console) -> None:
    """Tell of what a feature brings along and something else takes the place of."""
    from builder.debian.exclusive_roles import find_replaced  # noqa: PLC0415 - see the top

    names = [parse_package_name(name) for name in wanted.packages]
    for line in find_replaced(names, {name: archive.get(name)[0] for name in names}, packages):
        console.note(line)


def _freshness() -> release.Freshness:
    return release.Freshness(datetime.now(UTC), check_valid_until=os.environ.get(CHECK_VALID_UNTIL, "yes") != "no")


def require_known(names: Sequence[str], lock: Lock) -> None:
    """Refuse names of packages, wheels and images that are not in a lock.

    Raises:
        InputError: with the nearest names.
    """
    known = {package.name for package in lock.list_all_packages()} | {wheel.name for wheel in lock.wheels}
    known |= {image.name for image in lock.images} | {row.artifact for row in lock.artifacts}
    problems = []
    for name in names:
        if name not in known and normalise(name) not in known:
            near = difflib.get_close_matches(name, sorted(known), 3)
            problems.append(f"{name} is not in the lock" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    if problems:
        raise InputError(
            problems[0],
            details=problems[1:],
            hint="--update takes names of packages, containers and artifacts of the definition",
        )


def _question(
    wanted: PackageSet, image: PackageArchive, tools: PackageArchive, arch: str
) -> tuple[PackageArchive, ResolveRequest]:
    """Where to look for a set's packages, and what for. The tools are for the machine that builds."""
    from builder.debian.resolve import ResolveRequest  # noqa: PLC0415 - see the top

    if wanted.name == "tools":
        return tools, ResolveRequest((*list_tool_packages(arch), *wanted.packages), excluded=EXCLUDE, essential=False)
    layers = wanted.layers
    return image, ResolveRequest(wanted.packages, excluded=wanted.exclude, essential=wanted.essential, layers=layers)
