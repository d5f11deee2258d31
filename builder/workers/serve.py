"""Who is asked: a worker fetches the definitions, runs the commands in processes of their own, and shares what came of
it."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from builder.core.console import Console
from builder.core.errors import BuildError, CapabilityError
from builder.core.processes import ENDED, Processes, read_tail
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.sharing.archive import list_files
from builder.sharing.cache import SharedCache, TooSlow
from builder.workers.task import CONNECT, NOT_HERE, OUT, SOURCES, Done, Task, import_distributed, name_resource

MOST_TOLD = 1 << 20  # characters: the scheduler keeps it
_runs: dict[str, Processes] = {}  # of this worker, by command of a client's


@dataclass
class _Worker:
    """What this process was started with, where Dask's threads find it."""

    name: str = ""
    cache: SharedCache | None = None


_worker = _Worker()


def do_task(task: Task, before: object) -> dict[str, Any]:  # noqa: ARG001 - it has ended, that is all
    """Do one task on this worker; runs in a thread of Dask's."""
    try:
        done = _do_task(task, _open_cache())
    except (OSError, BuildError) as error:  # a full disk: another worker may have room
        done = Done(NOT_HERE, 0.0, f"this worker cannot do it: {error}")
    return asdict(replace(done, worker=_worker.name))


def _do_task(task: Task, cache: SharedCache) -> Done:
    with open_scratch(Store.open(), cache.console) as scratch:
        sources = scratch / SOURCES
        sources.mkdir()
        if cache.bring(task.sources, sources) is None:
            return Done(NOT_HERE, 0.0, f"{cache.place.url} does not have the definitions, {task.sources}")
        # Where names are looked up ends here, as in the repository.
        (sources / ".git").mkdir(exist_ok=True)
        return _run(task, sources / task.directory, scratch / OUT, cache)


def _run(task: Task, directory: Path, out: Path, cache: SharedCache) -> Done:
    started = time.monotonic()
    log = out.parent / "log"
    processes = _runs.setdefault(task.run, Processes())
    status, error = 0, ""
    for words in task.commands:
        # -P: a directory builder/ where it is started is not ours.
        argv = [sys.executable, "-P", "-m", "builder", *words, "--end-with-input", "--progress", "plain"]
        ended = processes.run(argv, log, task.seconds, directory=directory)
        if ended is None:
            return Done(ENDED, 0.0, "nobody waited for it any more when it was to begin")
        status, error = ended
        if status != 0:
            status, error = status if status > 0 else 1, error or read_tail(log)
            break
    seconds = time.monotonic() - started
    told = _read_told(out / task.tells)
    try:
        return Done(status, seconds, error, told, _give(task, out, cache))
    except (OSError, BuildError, TooSlow) as failure:
        return Done(NOT_HERE, seconds, f"{cache.place.url} does not take what came of it: {failure}", told)


def _read_told(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_TOLD)
    except OSError:
        return ""


def _give(task: Task, out: Path, cache: SharedCache) -> str:
    """Put what is to come back into the cache; returns the entry's name."""
    directory = out / task.gives
    if not task.gives or not directory.is_dir():
        return ""
    entry = f"results-1-{hashlib.sha256(f'{task.run} {task.name}'.encode()).hexdigest()}"
    # No sockets.
    files = {name: path for name, path in list_files(directory).items() if path.is_dir() or path.is_file()}
    cache.push(entry, files, out, seconds=60.0)
    return entry


def stop_run(run: str) -> int:
    """End all processes of a command on this worker, and begin no more; returns how many there were."""
    return _runs.setdefault(run, Processes()).end()


def _open_cache() -> SharedCache:
    """The cache that this worker was started with, for one task. What it takes is waited for: without it there is
    nothing to do here."""
    given = _worker.cache
    assert given is not None
    return SharedCache(given.place, given.trusted, given.console, given.signing, is_patient=True)


async def serve_tasks(address: str, cache: SharedCache, store: Store, slots: int, console: Console) -> None:
    """Be a worker of a scheduler until it goes away; what it had begun ends then.

    Raises:
        CapabilityError: there is no scheduler, or it takes no worker.
    """
    distributed = import_distributed()
    # Another one each time: a scheduler may not have noticed yet that a connection is gone.
    _worker.name, _worker.cache = f"{socket.gethostname()}-{os.urandom(3).hex()}", cache
    directory = store.root / "scratch"
    directory.mkdir(exist_ok=True)
    try:
        worker = await distributed.Worker(
            address,
            name=_worker.name,
            nthreads=slots,
            resources={name_resource(): slots},
            local_directory=str(directory),
            memory_limit=0,
            dashboard=False,
            death_timeout=CONNECT,
        )
    except (OSError, TimeoutError) as error:
        raise CapabilityError(f"there is no scheduler at {address}", hint="'dask scheduler' starts one") from error
    except RuntimeError as error:
        raise CapabilityError(f"the scheduler at {address} takes no worker: {error.__cause__ or error}") from error
    console.note(f"works for {address}: {slots} tasks at once, {name_resource()}")
    try:
        await worker.finished()
    finally:
        for processes in _runs.values():
            processes.end()
        _runs.clear()
        await worker.close(timeout=5)
