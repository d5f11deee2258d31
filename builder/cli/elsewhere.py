"""Tests of an image on other machines: each group that shares a machine goes to a worker, and one report comes back."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli.sharing import require_cache
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.core.image import Image
    from builder.workers.task import Task

RESULTS, MACHINES, PARTS = "results", "vm-tests", "parts"
NOT_ENDED, NOTHING_SAID = "the run was ended before it had", "nothing was said of it"
LOST = 5  # docs/exit-codes.md: as where a test has failed


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
    from builder.workers.results import bring_results
    from builder.workers.scheduler import Scheduler
    from builder.workers.sources import push_sources
    from builder.workers.task import ANOTHER_IMAGE, NOT_HERE
    from vm.testing.merge import Part, list_remarkable, merge_results
    from vm.testing.records import JUNIT, PAGE, format_summary
    from vm.testing.records import RESULTS as RECORDS

    cache, scheduler = require_cache(args, console, to_write=True), Scheduler(args.on)
    cache.is_patient = True  # there is no other way to what workers have left
    image, key = read_image(build_json), parse_key(build_json.read_text(encoding="utf-8"))
    definition = require_current_image(image, console)
    scheduler.require_workers()
    started, begun = datetime.now(UTC), time.monotonic()
    groups = {group.name: group for group in list_groups(listing)}
    sources, directory = push_sources(cache, Path.cwd(), [definition])
    with console.open_step("share the image"):
        push_build(cache, image.directory, seconds=60.0)
    shutil.rmtree(results / PARTS, ignore_errors=True)  # an earlier run's, as are these
    for name in (PAGE, RECORDS, JUNIT):
        (results / name).unlink(missing_ok=True)
    tasks = make_tasks(args, list(groups.values()), definition, sources, directory)
    parts = {group.name: Part(results / PARTS / group.name, group.tests, NOT_ENDED) for group in groups.values()}
    statuses: dict[str, int] = {}
    try:
        with (
            console.open_step(f"{len(listing)} tests in {len(groups)} groups on {args.on}"),
            closing(scheduler.run(tasks)) as ended,
        ):
            for task, done in ended:
                status, error = done.status, done.error
                if status == 0 and parse_key(done.told) != key:
                    status, error = NOT_HERE, ANOTHER_IMAGE
                elif done.gave and not bring_results(cache, done.gave, parts[task.name].directory):
                    status, error = NOT_HERE, f"what it has left cannot be brought from {cache.place.url}"
                parts[task.name] = replace(parts[task.name], error=error or NOTHING_SAID)
                statuses[task.name] = status
                if status == 0:
                    console.note(f"{task.name}: passed, {done.seconds:.0f} s")
                else:
                    console.warn(f"{task.name}: status {status}, {done.seconds:.0f} s: {error or NOTHING_SAID}")
                console.report_progress(len(statuses), len(tasks), "groups")
    finally:
        summary = merge_results(list(parts.values()), results, started, time.monotonic() - begun)
        for line in (*list_remarkable(summary), format_summary(summary), f"results: {results / PAGE}"):
            sys.stdout.write(f"{line}\n")
    status = choose_status(statuses.values())
    return LOST if status == 0 and summary["outcomes"].get("error") else status


def parse_key(text: str) -> str:
    """The key of all that decided an image's artifacts, of the text of ``build.json``; empty if it has none."""
    try:
        return str(json.loads(text)["key"])
    except (ValueError, LookupError, TypeError):
        return ""


def require_current_image(image: Image, console: Console) -> Path:
    """The definition of an image, which builds just that.

    Raises:
        InputError: it has another one, or none.
    """
    from builder.build.request import BuildRequest
    from builder.build.system import make_system_key, plan_system
    from builder.build.workspace import Workspace
    from builder.core.errors import InputError
    from builder.core.store import Store
    from builder.debian.lock import Lock
    from builder.definition.load import load
    from builder.locking import make_lock_path, require_current
    from builder.outputs.manifest import is_current

    which = image.directory / "build.json"
    if image.definition is None or not image.definition.is_file():
        raise InputError(f"{which} names no definition that is here, which workers build it of")
    resolved = load(image.definition).resolved
    lock = Lock.load(make_lock_path(resolved.path))
    require_current(lock, resolved, str(make_lock_path(resolved.path)))
    store = Store.open()
    request = BuildRequest(image.definition, image.directory, store, console)
    plan = plan_system(Workspace(request, store), resolved, lock)
    if not is_current(which, make_system_key(request, resolved, lock, plan)):
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
            tells="build.json",
            run=run,
            gives=RESULTS,
        )
        for group in groups
    ]
