"""Tests of an image on other machines: each group that shares a machine goes to a worker, and one report comes back."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli.sharing import require_cache
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.core.image import Image
    from builder.sharing.cache import SharedCache
    from builder.workers.task import Task

RESULTS, MACHINES, PARTS = "results", "vm-tests", "parts"


@dataclass(frozen=True)
class Group:
    """Tests that one worker runs.

    Attributes:
        name: for people: the file of the first, and how many there are.
        tests: their ids.
        arguments: how they are typed.
    """

    name: str
    tests: tuple[str, ...]
    arguments: tuple[str, ...]


def run_tests_elsewhere(
    args: argparse.Namespace, console: Console, listing: Sequence[dict[str, Any]], build_json: Path, results: Path
) -> int:
    """Have the tests run by workers, and write one report of all.

    Raises:
        InputError: the image is not what its definition says now, which is all that workers are given.
        CapabilityError: there is no scheduler, it has gone, or no worker fits.
    """
    from builder.build.shared import push_build
    from builder.core.image import read_image
    from builder.matrix.run import choose_status
    from builder.workers.scheduler import Scheduler
    from builder.workers.sources import push_sources
    from builder.workers.task import NOT_HERE
    from vm.testing.merge import Part, list_remarkable, merge_results
    from vm.testing.records import PAGE, format_summary

    cache, scheduler = require_cache(args, console, to_write=True), Scheduler(args.on)
    image = read_image(build_json)
    definition = require_current_image(image, console)
    scheduler.require_workers()
    started, begun = datetime.now(UTC), time.monotonic()
    groups = {group.name: group for group in list_groups(listing)}
    sources, directory = push_sources(cache, Path.cwd(), [definition])
    with console.open_step("share the image"):
        push_build(cache, image.directory, seconds=60.0)
    shutil.rmtree(results / PARTS, ignore_errors=True)  # an earlier run's
    tasks = make_tasks(args, list(groups.values()), definition, sources, directory)
    parts, statuses = [], []
    with (
        console.open_step(f"{len(listing)} tests in {len(groups)} groups on {args.on}"),
        closing(scheduler.run(tasks)) as ended,
    ):
        for task, done in ended:
            part = results / PARTS / task.name
            status, error = done.status, done.error
            if done.gave and not bring_results(cache, done.gave, part):
                status, error = NOT_HERE, f"what it has left cannot be brought from {cache.place.url}"
            parts.append(Part(part, groups[task.name].tests, error))
            statuses.append(status)
            if status == 0:
                console.note(f"{task.name}: passed, {done.seconds:.0f} s")
            else:
                console.warn(f"{task.name}: status {status}, {done.seconds:.0f} s: {error or 'it said nothing'}")
            console.report_progress(len(parts), len(tasks), "groups")
    parts.sort(key=lambda part: part.directory.name)
    summary = merge_results(parts, results, started, time.monotonic() - begun)
    for line in (*list_remarkable(summary), format_summary(summary), f"results: {results / PAGE}"):
        sys.stdout.write(f"{line}\n")
    return choose_status(statuses)


def require_current_image(image: Image, console: Console) -> Path:
    """The definition of an image, which builds just that.

    Raises:
        InputError: it has another one, or none.
    """
    from builder.build.request import BuildRequest
    from builder.build.system import is_up_to_date, plan_system
    from builder.build.workspace import Workspace
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.load import load
    from builder.locking import make_lock_path, require_current

    which = image.directory / "build.json"
    if image.definition is None or not image.definition.is_file():
        raise InputError(f"{which} names no definition that is here, which workers build it of")
    resolved = load(image.definition).resolved
    lock = Lock.load(make_lock_path(resolved.path))
    require_current(lock, resolved, str(make_lock_path(resolved.path)))
    store = Store.open()
    workspace = Workspace(BuildRequest(image.definition, image.directory, store, console), store)
    if not is_up_to_date(workspace, resolved, lock, plan_system(workspace, resolved, lock)):
        raise InputError(
            f"{which} is not what {image.definition} builds now, and workers are given that",
            hint="'build-os build' makes it; cells of a matrix have 'build-os matrix test --on', and what is signed for"
            " Secure Boot is tested here",
        )
    return image.definition


def list_groups(listing: Sequence[dict[str, Any]]) -> list[Group]:
    """The groups of a listing of tests, each with a name of its own."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for test in listing:
        groups.setdefault(test["group"], []).append(test)
    made = []
    for number, tests in enumerate(groups.values(), 1):
        file = Path(tests[0]["test"].partition("::")[0]).stem
        count = "1 test" if len(tests) == 1 else f"{len(tests)} tests"
        name = f"{number:03}-{file}-{count.replace(' ', '-')}"
        made.append(Group(name, tuple(test["test"] for test in tests), tuple(test["argument"] for test in tests)))
    return made


def make_tasks(
    args: argparse.Namespace, groups: Sequence[Group], definition: Path, sources: str, directory: str
) -> list[Task]:
    """What workers are told: the image, which is in the cache, and then the tests."""
    from builder.workers.task import Task, locate_out, make_run_name

    out, run = locate_out(directory), make_run_name()
    build = ("build", os.path.relpath(definition.resolve(), Path.cwd().resolve()), "-o", out, "--locked")
    own = [f"--vm-folder={out}/{RESULTS}/{MACHINES}", *shlex.split(args.pytest)]
    words = ["--image", f"{out}/build.json", "--results", f"{out}/{RESULTS}", f"--pytest={shlex.join(own)}"]
    values = {
        "--multiply": args.multiply,
        "--rerun": args.rerun,
        "--timeout-scale": args.timeout_scale,
        "--denylist": args.denylist and os.path.relpath(args.denylist.resolve(), Path.cwd().resolve()),
    }
    words += [word for name, value in values.items() if value is not None for word in (name, str(value))]
    return [
        Task(
            name=group.name,
            sources=sources,
            directory=directory,
            commands=(build, ("test", *group.arguments, *words)),
            tells="",
            run=run,
            gives=RESULTS,
        )
        for group in groups
    ]


def bring_results(cache: SharedCache, entry: str, directory: Path) -> bool:
    """Have what a group has left in a directory of its own; nobody else needs it. Returns whether it came."""
    directory.mkdir(parents=True)
    came = cache.bring(entry, directory) is not None
    cache.place.delete(entry)
    return came
