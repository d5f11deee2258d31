"""What a build is made of: its lock, the debs that the lock names, and the tools tree."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.artifacts.locking import fetch_artifacts, lock_artifacts
from builder.build.workspace import Workspace
from builder.core.errors import BuildError, InputError
from builder.core.scratch import open_scratch
from builder.core.tools import Tools
from builder.debian.lock import Lock, LockedPackage, LockedRun, LockedWheel, LockError
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.images.locking import fetch_images, lock_images
from builder.locking import (
    choose_mirrors,
    describe_changes,
    fetch_locked_wheels,
    has_current_environments,
    has_environments,
    hash_recipe,
    list_decisions,
    locate_lock,
    make_lock,
    renew_environments,
    require_current,
)
from builder.stages.stage import Context
from builder.toolstree import open_tools

if TYPE_CHECKING:
    from builder.debian.contents import Owner


def require_lock(workspace: Workspace, resolved: Resolved | ResolvedContainer) -> Lock:
    """The definition's lock. If it is missing or the definition has changed, it is made or renewed: what the
    definition did not ask for before is resolved, everything else keeps its version.

    Raises:
        InputError: it is not as it should be, and we were told not to touch it, or have no network for that.
    """
    request = workspace.request
    path = locate_lock(resolved, request.variation.locked_as)
    with measure(workspace, "lock"):
        old = Lock.load(path) if path.exists() else None
        if old is None and not request.relock:
            raise LockError(f"there is no {path}", hint="'build-os lock' makes it")
        if old is not None:
            try:
                require_current(old, resolved, str(path))
            except LockError:
                if not request.relock:
                    raise
            else:
                return old
        if old is not None and old.recipe_sha256 == hash_recipe(resolved):  # what else there is needs no network
            lock = replace(
                old,
                decisions=list_decisions(resolved),
                images=lock_images(resolved, request.store, request.console, old, offline=request.offline),
                artifacts=lock_artifacts(resolved, request.store, request.console, old, offline=request.offline),
            )
            if not has_current_environments(lock, resolved):
                if request.offline and has_environments(resolved):
                    raise InputError(
                        f"the Python environments of {path} are not current",
                        hint="run 'build-os lock' with a network once",
                    )
                lock = renew_environments(lock, resolved, workspace.kept, request.console)
        elif request.offline:
            raise InputError(f"there is no current {path}", hint="run 'build-os lock' with a network once")
        else:
            with request.console.open_step("lock"):
                lock = make_lock(resolved, workspace.kept, request.console, newest=old, update=())
        lock.dump(path)
        request.console.note(f"{'made' if old is None else 'renewed'} {path}: {len(lock.packages)} packages")
        for line in describe_changes(old, lock):
            request.console.note(f"  {line}")
        return lock


def record_runs(
    workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock, runs: Sequence[LockedRun]
) -> Lock:
    """The lock with what scripts changed that were run just now; written, unless we were told not to touch it.

    Raises:
        LockError: they changed something else than when they were run before.
    """
    recorded = lock.replace_runs(runs)
    if recorded == lock or not workspace.request.relock:
        return lock
    path = locate_lock(resolved, workspace.request.variation.locked_as)
    recorded.dump(path)
    workspace.console.note(f"{path} records what scripts changed that were run")
    return recorded


def fetch_debs(
    workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock, packages: Sequence[LockedPackage]
) -> None:
    """Get these packages of the lock into the store."""
    from builder.debian.fetch import fetch_packages  # what downloads is imported by who has to

    request = workspace.request
    with open_sharing(workspace, packages):
        fetch_packages(
            packages,
            lambda: choose_mirrors(resolved, lock.releases),
            request.store,
            request.console,
            offline=request.offline,
        )


def open_sharing(
    workspace: Workspace, files: Sequence[LockedPackage] | Sequence[LockedWheel]
) -> AbstractContextManager[None]:
    """What is fetched within this comes from the cache that machines share, as far as that has it."""
    if workspace.kept.tier is None:
        return nullcontext()
    from builder.sharing import downloads  # few builds have a cache behind the store

    sizes = {file.sha256: file.size for file in files}
    return downloads.open_sharing(workspace.kept, sizes, workspace.console, is_last_resort=workspace.request.offline)


def fetch_missing_debs(workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock) -> None:
    """Get every deb, artifact and image of the lock into the store."""
    packages = lock.list_all_packages()
    with measure(workspace, "fetch"):
        if any(not workspace.request.store.has_blob(w.sha256, w.size) for w in lock.wheels):
            with workspace.console.open_step("fetch wheels"), open_sharing(workspace, lock.wheels):
                fetch_locked_wheels(
                    lock, resolved, workspace.request.store, workspace.console, offline=workspace.request.offline
                )
        if any(not workspace.request.store.has_blob(p.sha256, p.size) for p in packages):
            with workspace.console.open_step("fetch packages"):
                fetch_debs(workspace, resolved, lock, packages)
        request = workspace.request
        if any(row.reference for row in lock.images):
            fetch_images(resolved, lock.images, request.store, request.console, offline=request.offline)
        if lock.artifacts:
            fetch_artifacts(resolved, lock, request.store, request.console, offline=request.offline)


def make_refetch(
    workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock
) -> Callable[[LockedPackage], None]:
    """What downloads a deb again that is damaged in the store."""
    return lambda package: fetch_debs(workspace, resolved, lock, [package])


def make_finder(
    workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock
) -> Callable[[Collection[str]], Mapping[str, Sequence[Owner]] | None]:
    """What asks the archive, as the lock saw it, which packages have files of these names; ``None`` if it does not
    know, because nothing that only makes a message better may end a build in another way."""

    def ask(names: Collection[str]) -> Mapping[str, Sequence[Owner]] | None:
        from builder.debian.contents import find_owners  # few builds lack something
        from builder.locking import open_archive_of

        request = workspace.request
        if request.offline and not all(request.store.has_blob(release.sha256) for release in lock.releases):
            return None
        try:
            mirrors = choose_mirrors(resolved, lock.releases)
            with workspace.console.open_step("look for the package of what is missing"):
                archive = open_archive_of(lock, mirrors, request.store, request.console)
                return find_owners(names, archive, mirrors, request.store, request.console, offline=request.offline)
        except BuildError as error:
            workspace.console.log(f"the archive's list of files: {error}")
            return None

    return ask


def open_build_tools(workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock) -> Tools:
    """The tools tree that the lock names."""
    adapt = workspace.request.adapt_tools
    with measure(workspace, "tools"):
        tools = open_tools(lock.tools, workspace.kept, workspace.console, make_refetch(workspace, resolved, lock))
        return tools if adapt is None else adapt(tools)


def open_lasting_tools(workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock, used: Tools) -> Tools:
    """The tools for whoever boots what was built: those that were used, or the store's where those go away."""
    store = workspace.request.store
    if workspace.kept is store:
        return used
    return open_tools(lock.tools, store, workspace.console, make_refetch(workspace, resolved, lock))


@contextmanager
def open_context(
    workspace: Workspace, resolved: Resolved | ResolvedContainer, lock: Lock, tools: Tools
) -> Iterator[Context]:
    """What stages and outputs work with; its scratch directory is gone afterwards."""
    with open_scratch(workspace.request.store, workspace.console) as scratch:
        refetch, finder = make_refetch(workspace, resolved, lock), make_finder(workspace, resolved, lock)
        yield Context(tools, workspace.kept, workspace.console, scratch, refetch, finder)


@contextmanager
def measure(workspace: Workspace, phase: str) -> Iterator[None]:
    """Note how long a phase took that is not a stage."""
    started = time.monotonic()
    yield
    setattr(workspace.timings, phase, time.monotonic() - started)
