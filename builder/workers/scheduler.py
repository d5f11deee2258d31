"""Who asks: tasks go to a scheduler that somebody runs, and come back as they end.

Nothing that is large goes through the scheduler: definitions are an entry of the shared cache, and so is what a worker
makes. A worker offers a resource that names its architecture and the source of build-os, so that none of another
version is ever given a task.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from builder.core.errors import CapabilityError
from builder.workers.serve import do_task, stop_run
from builder.workers.task import CONNECT, NOT_HERE, Done, Task, import_distributed, name_resource

# Of a library that may not be installed, and has few types.
Client = Any
Future = Any
LOOK = 1.0  # seconds between two looks at the scheduler
ALONE = 60.0  # seconds without a worker that fits, after which nobody waits any more


@dataclass(frozen=True)
class Scheduler:
    """A scheduler of Dask's.

    Attributes:
        address: ``tcp://HOST:PORT``.
    """

    address: str

    def require_workers(self) -> None:
        """Fail at once where nothing could be done.

        Raises:
            CapabilityError: there is no scheduler, or no worker that fits.
        """
        with self._open_client() as client:
            self._require_workers(client)

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Done], None, None]:
        """Have every task done; one that fails stops no other. Who closes this ends all that still runs.

        Raises:
            CapabilityError: there is no scheduler, it has gone, or no worker fits.
        """
        with self._open_client() as client:
            self._require_workers(client)
            futures = submit(client, tasks)
            try:
                yield from self._collect(client, dict(zip(tasks, futures, strict=True)))
            except BaseException:
                if client.status == "running":
                    stop_tasks(client, futures, {task.run for task in tasks})
                raise

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
        if list_workers(client):
            return
        others = [worker.get("resources") or {} for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        details = sorted({f"there is one with {', '.join(other) or 'nothing of build-os'}" for other in others})
        raise CapabilityError(
            f"{self.address} has no worker with {name_resource()}",
            details=details,
            hint="the same version of build-os, on the same architecture: 'build-os worker' there",
        )

    def _collect(self, client: Client, waiting: dict[Task, Future]) -> Iterator[tuple[Task, Done]]:
        """Tasks with how they ended, as they end."""
        alone = time.monotonic()
        again: set[Task] = set()
        while waiting:
            time.sleep(LOOK if not any(future.done() for future in waiting.values()) else 0)
            if client.status != "running":
                raise CapabilityError(
                    f"the scheduler at {self.address} has gone",
                    hint="start it and run this again: what is built is in the cache",
                )
            for task, future in list(waiting.items()):
                if not future.done():
                    continue
                if future.status == "error" and task.shares and task not in again:
                    # Perhaps only what it came after has taken its worker with it, and nobody has tried this one.
                    again.add(task)
                    waiting[task] = submit_one(client, task, None, "-again")
                    continue
                del waiting[task]
                yield task, _read_future(future)
            if list_workers(client):
                alone = time.monotonic()
            elif time.monotonic() - alone > ALONE:
                raise CapabilityError(
                    f"{self.address} has had no worker that fits for {ALONE:.0f} s", hint="'build-os worker' starts one"
                )


def submit(client: Client, tasks: Sequence[Task]) -> list[Future]:
    """Hand them out. Those that need the same things come one after the other, so that they are on one worker."""
    futures: list[Future] = []
    last: dict[str, Future] = {}
    for task in tasks:
        last[task.shares] = submit_one(client, task, last.get(task.shares) if task.shares else None)
        futures.append(last[task.shares])
    return futures


def submit_one(client: Client, task: Task, before: Future | None, suffix: str = "") -> Future:
    """Hand one out, to be done when another one has ended."""
    key = f"{task.name}-{task.run}{suffix}"
    return client.submit(do_task, task, before, key=key, resources={name_resource(): 1}, pure=False)


def stop_tasks(client: Client, futures: Sequence[Future], runs: Iterable[str]) -> None:
    """Have nothing of a run begin any more, and what has begun end."""
    with suppress(OSError):  # of a scheduler that goes just now
        client.cancel(futures)
        if workers := list_workers(client):
            for run in runs:
                client.run(stop_run, run, workers=workers, on_error="ignore")


def list_workers(client: Client) -> list[str]:
    """The addresses of the workers that a task can be given to; none of a scheduler that has gone."""
    try:
        workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    except OSError:
        return []
    return [address for address, worker in workers.items() if name_resource() in (worker.get("resources") or {})]


def _read_future(future: Future) -> Done:
    if future.status == "finished":
        return Done(**future.result())
    if future.status == "cancelled":
        return Done(NOT_HERE, 0.0, "the scheduler has forgotten it: it was started again")
    return Done(NOT_HERE, 0.0, f"no worker could do it: {future.exception()}")
