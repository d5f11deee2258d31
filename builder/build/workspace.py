"""Where a build works: the directories it has for itself while it runs, and what of the store it may use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builder.build.request import BuildRequest
from builder.core.console import Console, format_size
from builder.core.errors import CapabilityError
from builder.core.locks import hold_lock
from builder.core.scratch import open_scratch
from builder.core.store import Store
from builder.outputs.manifest import FILE, Timings

# A build needs room for the raw disk's used blocks, the root twice, and the artifacts.
ROOM = 2_000_000_000


@dataclass(frozen=True)
class Workspace:
    """What the steps of one build have in common.

    Attributes:
        kept: where packs, stages, outputs, lists of packages and tools are looked for and left: the store, but for a
            build that starts anew.
        timings: receives how long each step took.
    """

    request: BuildRequest
    kept: Store
    timings: Timings = field(default_factory=Timings)

    @property
    def console(self) -> Console:
        """Where progress is shown."""
        return self.request.console

    @property
    def manifest(self) -> Path:
        """Where ``build.json`` is, once the build is done."""
        return self.request.out / FILE


@contextmanager
def open_workspace(request: BuildRequest) -> Iterator[Workspace]:
    """The workspace of a build that writes artifacts: nobody else builds into its output directory meanwhile."""
    with (
        hold_lock(request.out / ".lock", request.console, f"building into {request.out}"),
        open_store(request) as workspace,
    ):
        yield workspace


@contextmanager
def open_store(request: BuildRequest) -> Iterator[Workspace]:
    """The workspace of what needs the store alone. A build that starts anew has a place of its own for all that it
    makes on the way, gone afterwards."""
    store, console = request.store, request.console
    with store.keep_in_use(console):
        if not request.reason_to_start_anew:
            yield Workspace(request, store)
            return
        with open_scratch(store, console) as directory:
            yield Workspace(request, store.make_store_apart(directory / "store"))


def sweep_out(out: Path) -> None:
    """Remove what a killed build left half-made. We hold the directory's lock, so nobody is at work in it."""
    for path in out.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in out.glob(".*." + 16 * "[0-9a-f]"):  # of builder.core.files.open_replacement
        path.unlink(missing_ok=True)


def require_room(*directories: Path) -> None:
    """Refuse before the disk is full, not after.

    Raises:
        CapabilityError: one of the directories cannot be written, or has less than a build needs.
    """
    for path in directories:
        path.mkdir(parents=True, exist_ok=True)
        try:
            tempfile.TemporaryFile(dir=path).close()
        except OSError as error:
            raise CapabilityError(f"cannot write into {path}: {error.strerror}") from error
        free = shutil.disk_usage(path).free
        if free < ROOM:
            raise CapabilityError(
                f"{path} has {format_size(free)} left; a build needs {format_size(ROOM)}",
                hint="'build-os cache clear --stages' frees what can be made again",
            )
