"""What a worker is told, what it answers, and who may be a worker."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from builder.core.architecture import find_host_arch
from builder.core.errors import CapabilityError
from builder.core.files import hash_file
from builder.core.inputs import ROOT

CONNECT = "10s"
NOT_HERE = 3  # docs/exit-codes.md: something is missing on the machines that were asked
PACKAGES = ("builder", "firstboot", "update", "vm")
ANOTHER_IMAGE = (
    "the worker builds another image than this machine would: something that decides it is not sent to workers,"
    " which have what git knows or would add, and no private keys"
)
# Directories of a task, beside each other; not as a project calls its own, which is looked for above the sources.
SOURCES, OUT = "sources", "made"


@dataclass(frozen=True)
class Task:
    """Commands of ours that a worker runs, one after the other, until one fails.

    Attributes:
        name: for people; no other task of the same run has it.
        sources: the entry of the cache that has the definitions.
        directory: where in them the commands are run.
        commands: what is typed after ``build-os``; :func:`locate_out` says where they may write.
        tells: a small file below there, whose text comes back.
        run: all tasks of one command of a person's have the same.
        gives: a directory below there that comes back, as an entry of the cache.
        shares: tasks with the same come one after the other, so that one worker finds in its store what they share.
        seconds: how long each command may take.
    """

    name: str
    sources: str
    directory: str
    commands: tuple[tuple[str, ...], ...]
    tells: str
    run: str
    gives: str = ""
    shares: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Done:
    """How a task ended.

    Attributes:
        status: the exit code of the last command that ran.
        error: what was said, where that is not 0.
        told: the text that was to be told; empty if there is none.
        gave: the entry of the cache that has what was to come back; empty if there is none.
        worker: who did it, as its scheduler calls it.
    """

    status: int
    seconds: float
    error: str = ""
    told: str = ""
    gave: str = ""
    worker: str = ""


def make_run_name() -> str:
    """A name for one command of a person's, which no other has."""
    return os.urandom(8).hex()


def locate_out(directory: str) -> str:
    """Where a task's commands may write, as seen from the directory of the sources that they are run in."""
    return "/".join([".."] * (len(PurePosixPath(directory).parts) + 1) + [OUT])


@cache
def name_resource() -> str:
    """What a worker must offer to be given a task: this machine's architecture, and this build-os, to the last line."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0{hash_file(path)}\0".encode())
    return f"build-os-{find_host_arch()}-{digest.hexdigest()[:16]}"


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
