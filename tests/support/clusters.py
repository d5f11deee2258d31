"""Machines of different images and configs on one network, for tests of what several machines do together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from builder.core.store import Store
from tests.support.machines import PATIENT, started
from vm.machine import Machine
from vm.network.segment import Segment

# Two machines on a busy host are later than one, and units of one wait for the other.
PATIENTLY = {"arguments": f"{PATIENT} systemd.default_timeout_start_sec=600"}


@contextmanager
def connected(folder: Path, store: Store) -> Iterator[Callable[..., Machine]]:
    """A network without machines; what is yielded switches one on: ``start("name", build_json, memory=768)``.

    It returns at once. The first machine has the address 10.77.0.10, the second 10.77.0.11, and so on; they know each
    other by name. Further arguments are those of :func:`tests.support.machines.started`.
    """
    with Segment() as segment, ExitStack() as stack:

        def start(name: str, manifest: Path, **options: Any) -> Machine:
            cables = [(segment, segment.make_nic(name))]
            options = {
                "seconds": 900,
                "net": "none",
                "boot": "kernel",
                "name": name,
                "cables": cables,
                **PATIENTLY,
                **options,
            }
            return stack.enter_context(started(manifest, folder / name, store, **options))

        yield start
