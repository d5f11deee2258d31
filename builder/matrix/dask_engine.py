"""Cells on other machines, by Dask distributed: a scheduler that somebody runs, and workers of ``build-os worker``.

Nothing that is large goes through the scheduler: definitions and locks are an entry of the shared cache, and so is what
a worker has built. A task is a cell's name; its result is how it ended. A worker offers a resource that names its
architecture and the source of build-os, so that none of another version is ever given a cell.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.core.architecture import find_host_arch
from builder.core.console import Console
from builder.core.errors import CapabilityError, InputError
from builder.core.files import hash_file
from builder.core.inputs import hash_source
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.matrix.plan import PlannedCell
from builder.matrix.records import Outcome, read_outcomes
from builder.matrix.run import ENDED, Processes
from builder.sharing.cache import SharedCache

# Of a library that may not be installed, and has few types.
Client = Any
Future = Any
LOOK = 1.0  # seconds between two looks at the scheduler
ALONE = 60.0  # seconds without a worker that fits, after which nobody waits any more
CONNECT = "10s"
MOST_SOURCES = 200_000_000  # bytes
# What a key in PEM has in its first line, of whatever kind it is, and in how many bytes that is looked for.
PRIVATE_KEY, HEAD = b"PRIVATE KEY-----", 4096
NOT_HERE = 3  # docs/exit-codes.md: something is missing on the machines that were asked
_runs: dict[str, Processes] = {}  # of this worker, by command of a client's


def name_resource() -> str:
    """What a worker must offer to be given a cell: this machine's architecture, and this build-os."""
    return f"build-os-{find_host_arch()}-{hash_source('builder.build.system')[:16]}"


@dataclass(frozen=True)
class CellTask:
    """What a worker is told.

    Attributes:
        sources: the entry of the cache that has the definitions.
        matrix: the path in there.
        run: all cells of one command have the same.
    """

    sources: str
    matrix: str
    cell: str
    run: str
    seconds: float | None
    offline: bool


def import_distributed() -> Any:
    """The library, which is an extra of the package.

    Raises:
        CapabilityError: it is not installed.
    """
    try:
        import distributed  # noqa: PLC0415 - half a second, for those who have other machines
    except ImportError as error:
        raise CapabilityError("Dask is not installed here", hint="pip install 'build-os[scale]'") from error
    return distributed


# --- who asks --------------------------------------------------------------------------------------


@dataclass
class DaskEngine:
    """A scheduler that is asked to have cells built.

    Attributes:
        address: ``tcp://HOST:PORT``.
        seconds: how long a cell may take.
    """

    address: str
    cache: SharedCache
    console: Console
    seconds: float | None = None
    offline: bool = False

    def run_cells(self, planned: Sequence[PlannedCell], matrix: Path) -> dict[str, Outcome]:
        """Have every cell built; what was built is in the cache then. A cell that fails stops no other.

        Raises:
            CapabilityError: there is no scheduler, it has gone, or no worker fits.
        """
        outcomes: dict[str, Outcome] = {}
        with self._open_client() as client:
            self._require_workers(client)
            sources, inside = push_sources(self.cache, matrix, [row.cell.definition for row in planned])
            run = os.urandom(8).hex()
            tasks = [CellTask(sources, inside, row.cell.id, run, self.seconds, self.offline) for row in planned]
            futures = self._submit(client, planned, tasks)
            try:
                for name, outcome in self._collect(client, futures):
                    outcomes[name] = outcome
                    self._say(name, outcome)
                    self.console.report_progress(len(outcomes), len(planned), "cells")
            except BaseException:
                with suppress(OSError):  # of a scheduler that has gone
                    client.cancel(list(futures.values()))
                    client.run(stop_run, run)
                raise
        return outcomes

    @contextmanager
    def _open_client(self) -> Iterator[Client]:
        distributed = import_distributed()
        try:
            client = distributed.Client(self.address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise CapabilityError(
                f"there is no scheduler at {self.address}", hint="'dask scheduler' starts one"
            ) from error
        try:
            yield client
        finally:
            client.close(timeout=5)

    def _require_workers(self, client: Client) -> None:
        if count_workers(client):
            return
        others = [worker.get("resources") or {} for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        details = sorted({f"there is one with {', '.join(other) or 'nothing of build-os'}" for other in others})
        raise CapabilityError(
            f"{self.address} has no worker with {name_resource()}",
            details=details,
            hint="the same version of build-os, on the same architecture: 'build-os worker' there",
        )

    def _submit(self, client: Client, planned: Sequence[PlannedCell], tasks: Sequence[CellTask]) -> dict[str, Future]:
        """A task for each cell. Those that need the same things come one after the other, so that they are on one
        worker and find them in its store."""
        futures: dict[str, Future] = {}
        last: dict[frozenset[str], Future] = {}
        for row, task in zip(planned, tasks, strict=True):
            before = last.get(row.claims) if row.claims else None
            future = client.submit(
                work_on_cell,
                task,
                before,
                key=f"{task.cell}-{task.run}",
                resources={name_resource(): 1},
                pure=False,
            )
            futures[row.cell.id] = last[row.claims] = future
        return futures

    def _collect(self, client: Client, futures: Mapping[str, Future]) -> Iterator[tuple[str, Outcome]]:
        """Cells with how they ended, as they end."""
        waiting = dict(futures)
        alone = time.monotonic()
        while waiting:
            time.sleep(LOOK if not any(future.done() for future in waiting.values()) else 0)
            if client.status != "running":
                raise CapabilityError(
                    f"the scheduler at {self.address} has gone",
                    hint="start it and run this again: what is built is in the cache",
                )
            for name, future in list(waiting.items()):
                if future.done():
                    del waiting[name]
                    yield name, _read_future(future)
            if count_workers(client):
                alone = time.monotonic()
            elif time.monotonic() - alone > ALONE:
                raise CapabilityError(
                    f"{self.address} has had no worker that fits for {ALONE:.0f} s", hint="'build-os worker' starts one"
                )

    def _say(self, name: str, outcome: Outcome) -> None:
        if outcome.status == 0:
            self.console.note(f"{name}: done in {outcome.seconds:.1f} s")
        else:
            self.console.warn(f"{name} failed with status {outcome.status}: {outcome.error}")


def count_workers(client: Client) -> int:
    """How many workers there are that a cell can be given to."""
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    except OSError:
        return 0
    return sum(name_resource() in (worker.get("resources") or {}) for worker in workers)


def _read_future(future: Future) -> Outcome:
    if future.status == "finished":
        return Outcome(**future.result())
    if future.status == "cancelled":
        return Outcome(NOT_HERE, 0.0, "the scheduler has forgotten it: it was started again")
    return Outcome(NOT_HERE, 0.0, f"no worker could do it: {future.exception()}")


def push_sources(cache: SharedCache, matrix: Path, definitions: Sequence[Path]) -> tuple[str, str]:
    """Put all that cells may name into the cache: the repository's files, or what is below the matrix's directory.
    Returns the entry's name, and the path of the matrix in it.

    Raises:
        InputError: it is too much to be sources, or a definition lies elsewhere.
        BuildError, OSError: the cache does not take it.
    """
    top, files = list_sources(matrix)
    if outside := [path for path in definitions if not path.resolve().is_relative_to(top)]:
        raise InputError(f"{outside[0]} is not below {top}, which is all that workers are given")
    if (size := sum(path.stat().st_size for path in files.values())) > MOST_SOURCES:
        raise InputError(
            f"what is below {top} has {size} bytes, too much to be definitions", hint="keep them in a repository of git"
        )
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hash_file(path)}\0".encode())
    name = f"sources-1-{digest.hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="build-os-sources-") as scratch:
        cache.push(name, {**_list_parents(files, top), **files}, Path(scratch), seconds=60.0)
    return name, matrix.resolve().relative_to(top).as_posix()


def _list_parents(files: Mapping[str, Path], top: Path) -> dict[str, Path]:
    """The directories that files are in, by name."""
    names = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    return {name: top / name for name in names}


def list_sources(matrix: Path) -> tuple[Path, dict[str, Path]]:
    """The directory that everything is below, and its files by name: of a repository those that git knows or would
    add, and locks. Private keys are none of them: who can read the cache is not who may sign."""
    directory = matrix.resolve().parent
    top = next((path for path in (directory, *directory.parents) if (path / ".git").exists()), None)
    if top is None:
        names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
        return directory, _leave_out_keys({name: directory / name for name in names if not name.startswith("out/")})
    argv = ["git", "-C", str(top), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(argv, capture_output=True, check=True).stdout.decode(errors="surrogateescape")
    except (OSError, subprocess.CalledProcessError) as error:
        raise CapabilityError(f"git does not say what is in {top}: {error}") from error
    names = [*listed.split("\0"), *(path.relative_to(top).as_posix() for path in directory.rglob("*.lock"))]
    return top, _leave_out_keys({name: top / name for name in names if name and (top / name).is_file()})


def _leave_out_keys(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if not _is_private_key(path)}


def _is_private_key(path: Path) -> bool:
    with path.open("rb") as file:
        return PRIVATE_KEY in file.read(HEAD)


# --- who is asked ----------------------------------------------------------------------------------


def work_on_cell(task: CellTask, before: object) -> dict[str, Any]:  # noqa: ARG001 - it has ended, that is all
    """Build one cell on this worker, in a process of its own; runs in a thread of Dask's."""
    store = Store.open()
    cache = _open_cache()
    with open_scratch(store, cache.console) as scratch:
        sources = scratch / "sources"
        sources.mkdir()
        if cache.bring(task.sources, sources) is None:
            return asdict(Outcome(NOT_HERE, 0.0, f"{cache.place.url} does not have the definitions, {task.sources}"))
        # Where names are looked up ends here, as in the repository.
        (sources / ".git").mkdir(exist_ok=True)
        out = scratch / "out"
        argv = [sys.executable, "-P", "-m", "builder", "matrix", "build", task.matrix, "-o", str(out), "--locked"]
        argv += ["--cell", task.cell, "--end-with-input", "--progress", "plain"]
        argv += ["--offline"] if task.offline else []
        return asdict(_run(argv, sources, out / task.cell, task))


def _run(argv: Sequence[str], directory: Path, out: Path, task: CellTask) -> Outcome:
    started = time.monotonic()
    log = directory.parent / "log"
    ended = _runs.setdefault(task.run, Processes()).run(argv, log, task.seconds, directory=directory)
    if ended is None:
        return Outcome(ENDED, 0.0, "nobody waited for it any more when it was to begin")
    status, error = ended
    said = read_outcomes(out).get("build")
    if said is not None and said.status == status:
        return said
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    return Outcome(status if status > 0 else 1, time.monotonic() - started, error or tail)


def stop_run(run: str) -> int:
    """End all processes of a command on this worker, and begin no more; returns how many there were."""
    return _runs.setdefault(run, Processes()).end()


_cache: list[SharedCache] = []


def _open_cache() -> SharedCache:
    """The cache that this worker was started with, for one cell: what it has cost others is no reason to give it up."""
    given = _cache[0]
    return SharedCache(given.place, given.trusted, given.console, given.signing)


async def serve_cells(address: str, cache: SharedCache, store: Store, slots: int, console: Console) -> None:
    """Be a worker of a scheduler until it goes away.

    Raises:
        CapabilityError: there is no scheduler.
    """
    distributed = import_distributed()
    _cache[:] = [cache]
    directory = store.root / "scratch"
    directory.mkdir(exist_ok=True)
    try:
        worker = await distributed.Worker(
            address,
            nthreads=slots,
            resources={name_resource(): slots},
            local_directory=str(directory),
            memory_limit=0,
            dashboard=False,
            death_timeout=CONNECT,
        )
    except (OSError, TimeoutError) as error:
        raise CapabilityError(f"there is no scheduler at {address}", hint="'dask scheduler' starts one") from error
    console.note(f"works for {address}: {slots} cells at once, {name_resource()}")
    try:
        await worker.finished()
    finally:
        await worker.close(timeout=5)
