"""Machines that serve many tests: each is booted once, ever, and put back to where it was before the next test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from builder.core.errors import BuildError
from builder.core.image import Image
from builder.core.kept import derive_key
from builder.core.store import Store
from vm.machine import Machine, golden
from vm.spec import Accel, VmSpec
from vm.waiting.wait import is_hidden

__tracebackhide__ = is_hidden
Isolation = Literal["snapshot", "shared"]
# QEMU's emulated time stamp counter never goes back within one process (cpu_get_ticks() in its cpu-timers.c): a guest
# that is put back sees its clock jump by all that it has run since it was woken up. After 21 s its kernel complains,
# after minutes systemd's watchdogs end services. So a machine that has run for long is woken up anew.
FRESH_SECONDS = 10.0
RUNNING = 2  # machines kept running between tests; each takes its guest's memory


@dataclass
class PooledMachine:
    """A machine that runs, or is paused between two tests; ``shared``: the last of them only looked."""

    machine: Machine
    shared: bool = False
    woken: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class PoolRequest:
    """The machine that a test wants.

    Attributes:
        until: the unit that must be active before the test begins.
        make: makes a machine that is to boot (None) or to be woken up from a golden machine's folder.
    """

    spec: VmSpec
    until: str
    make: Callable[[Path | None], Machine]


class Pool:
    """All machines of a test session that were booted for more than one test.

    Args:
        anew: boot each here and now; what was kept in the store may be what made tests fail.
    """

    def __init__(self, image: Image, store: Store, tools: Path, *, anew: bool = False) -> None:
        self._image = image
        self._store = store
        self._tools = tools
        self._anew = anew
        self._running: dict[str, PooledMachine] = {}

    def take(self, request: PoolRequest, isolation: Isolation) -> Machine:
        """A machine as it was right after it had booted; with ``shared``, as the last test that shares it left it.

        Raises:
            VmError: it does not boot.
        """
        steps = ["firstboot", request.until] if request.spec.firstboot_config is not None else [request.until]
        inputs = golden.make_golden_inputs(self._image, request.spec, self._tools, steps)
        key = derive_key(inputs)
        pooled = self._running.pop(key, None)
        if pooled is not None and not self._put_back(pooled, isolation):
            self._end(pooled)
            pooled = None
        if pooled is None:
            self._make_room()
            pooled = PooledMachine(self._wake(inputs, request, steps))
        pooled.shared = isolation == "shared"
        self._running[key] = pooled
        return pooled.machine

    def pause(self) -> None:
        """Halt every machine, so that the next test has the processors for itself."""
        for pooled in self._running.values():
            with suppress(BuildError):
                if not pooled.machine.is_off:
                    pooled.machine.pause()

    def release(self, machine: Machine) -> None:
        """End our part of a machine that was left running (:meth:`vm.machine.Machine.leave`)."""
        for key, pooled in list(self._running.items()):
            if pooled.machine is machine:
                self._end(self._running.pop(key))

    def close(self) -> None:
        """Put everything away."""
        while self._running:
            self._end(self._running.popitem()[1])

    def _put_back(self, pooled: PooledMachine, isolation: Isolation) -> bool:
        """Whether the machine can be used again."""
        machine = pooled.machine
        if machine.is_off:
            return False
        try:
            if pooled.shared and isolation == "shared":
                machine.resume()
            elif not self._anew and machine.spec.accel is Accel.TCG and time.monotonic() - pooled.woken > FRESH_SECONDS:
                return False
            else:
                machine.restore(golden.SNAPSHOT)
        except BuildError:
            return False
        return True

    def _wake(self, inputs: Mapping[str, str], request: PoolRequest, steps: Sequence[str]) -> Machine:
        if self._anew:
            return self._boot_and_stay(request, steps)
        key = derive_key(inputs)
        folder = golden.find_golden(self._store, key)
        if folder is not None:
            try:
                return request.make(folder).__enter__()
            except BuildError:
                # Another kernel of the host, a damaged file: what was kept is worth a boot, and no more.
                golden.remove_golden(self._store, key)
        with request.make(None) as machine:
            _wait_until_up(machine, request, steps)
            folder = golden.keep_golden(self._store, inputs, machine.folder, machine.sleep())
        return request.make(folder).__enter__()

    @staticmethod
    def _boot_and_stay(request: PoolRequest, steps: Sequence[str]) -> Machine:
        with ExitStack() as stack:
            machine = stack.enter_context(request.make(None))
            _wait_until_up(machine, request, steps)
            machine.snapshot(golden.SNAPSHOT)
            stack.pop_all()
        return machine

    def _make_room(self) -> None:
        while len(self._running) >= RUNNING:
            self._end(self._running.pop(next(iter(self._running))))

    @staticmethod
    def _end(pooled: PooledMachine) -> None:
        pooled.machine.__exit__(None, None, None)


def _wait_until_up(machine: Machine, request: PoolRequest, steps: Sequence[str]) -> None:
    if "firstboot" in steps:
        machine.wait_firstboot()
    machine.wait_unit(request.until)
