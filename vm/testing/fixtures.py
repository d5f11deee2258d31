"""The machines that fixtures give to tests: made to measure, taken from the pool, on a network of their own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.core.image import Image
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel.choice import Verdict
from vm.machine import Machine
from vm.network.segment import Nic, Segment
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest
from vm.testing import FOLDERS
from vm.testing.pool import Pool, PoolRequest
from vm.testing.project import FOLDER, locate_build_json, locate_folder, resolve_option
from vm.testing.rerun import make_session_suffix
from vm.testing.teardown import has_failed, keep_if_asked, look_through
from vm.waiting.deadline import Deadline, choose_timeout_scale

DEFAULT_SECONDS = 60.0


@dataclass(frozen=True)
class Host:
    """What every machine of a session is made from."""

    image: Image
    tools: Tools
    store: Store
    accel: Verdict

    def make_machine(self, folder: Path, request: MachineRequest, seconds: float, **options: Any) -> Machine:
        """One that is to be switched on; ``options`` are those of :class:`vm.machine.Machine`."""
        spec = plan_machine(self.image, MachineFolder(folder), self.accel.accel, request)
        deadline = make_deadline(seconds, self.accel)
        return Machine(spec, self.tools, deadline, folder=folder, store=self.store, **options)


@contextmanager
def make_machines(test: pytest.Item, host: Host) -> Iterator[Callable[..., Machine]]:
    """What the fixture ``vm_factory`` is: starts machines, which end with the test."""
    allow = compile_allowed_patterns(test)
    home = locate_folder(test)
    outlive = test.config.getoption("--vm-keep")
    machines: list[Machine] = []

    with ExitStack() as stack:

        def make(
            *,
            seconds: float = DEFAULT_SECONDS,
            config: Path | str | None = None,
            check: bool = True,
            probe: bool = True,
            cables: Sequence[tuple[Segment, Nic]] = (),
            **options: Any,
        ) -> Machine:
            folder = home / f"machine{len(machines)}"
            path = write_config(config, home / f"config{len(machines)}")
            fail_on_refused_config(test.config, path if check else None)
            request = MachineRequest(config=path, **options)
            machine = host.make_machine(
                folder, request, seconds, probe=probe, allow=allow, outlive=outlive, cables=cables
            )
            test.stash.setdefault(FOLDERS, []).append(folder)
            machines.append(machine)
            return stack.enter_context(machine)

        yield make
        for machine in machines:
            look_through(test, machine)
            keep_if_asked(test, machine, host.store, host.tools, lambda: None)
    fail_on_bad_signs(machines)


@contextmanager
def lend_machine(test: pytest.Item, host: Host, pool: Pool) -> Iterator[Machine]:
    """What the fixture ``vm`` is: a machine of the pool as the test's marker describes it."""
    mark = test.get_closest_marker("vm")
    options: dict[str, Any] = dict(mark.kwargs) if mark is not None else {}
    until, isolation = options.pop("until", "multi-user.target"), options.pop("isolation", "snapshot")
    seconds, check = options.pop("seconds", DEFAULT_SECONDS), options.pop("check", True)
    if isolation not in ("snapshot", "shared"):
        pytest.fail(f"a vm's isolation is 'snapshot' or 'shared', not {isolation!r}", pytrace=False)
    home = locate_folder(test)
    machines = resolve_option(test.config, "--vm-folder", FOLDER) / "machines"
    config = write_config(options.pop("config", None), home / "config")
    fail_on_refused_config(test.config, config if check else None)
    name = make_mark_name(config, options) + make_session_suffix(test.config)
    outlive = test.config.getoption("--vm-keep")
    allow = compile_allowed_patterns(test)
    request = MachineRequest(config=config, **options)

    def make(asleep: Path | None) -> Machine:
        folder = machines / (name if asleep else f"{name}-boot")
        test.stash.setdefault(FOLDERS, []).append(folder)
        return host.make_machine(folder, request, seconds, allow=allow, asleep=asleep, outlive=outlive)

    spec = plan_machine(host.image, MachineFolder(home), host.accel.accel, request)
    machine = pool.take(PoolRequest(spec, until, make), isolation)
    machine.deadline = make_deadline(seconds, host.accel)
    machine.start_over(allow)
    cpu_before = machine.cpu_seconds()
    test.stash[FOLDERS] = [machine.folder.root]
    yield machine
    look_through(test, machine, cpu_before)
    if has_failed(test, machine):  # the next test that gets this machine goes on with its logs
        test.stash[FOLDERS] = [machine.folder.copy_logs(home / "machine").root]
    keep_if_asked(test, machine, host.store, host.tools, lambda: pool.release(machine))
    pool.pause()
    fail_on_bad_signs([machine])


@contextmanager
def connect_machines(make_machine: Callable[..., Machine]) -> Iterator[Callable[..., list[Machine]]]:
    """What the fixture ``cluster`` is: boots machines on one network."""
    with Segment() as segment:

        def make(*names: str, until: str = "multi-user.target", **options: Any) -> list[Machine]:
            machines = []
            for name in names:
                wanted: dict[str, Any] = {"name": name, "net": "none", **options}
                machine = make_machine(cables=[(segment, segment.make_nic(name))], **wanted)
                machines.append(machine)
                if options.get("config") is not None:
                    machine.wait_firstboot()
                machine.wait_unit(until)
            return machines

        yield make


def find_folders_of_fixtures(item: pytest.Item) -> list[Path]:
    """Those of machines that fixtures of the project itself have given to a test."""
    values = (getattr(item, "funcargs", None) or {}).values()
    return [value.folder.root for value in values if isinstance(value, Machine)]


def fail_on_refused_config(config: pytest.Config, path: Path | None) -> None:
    """Fail the test at once if the image under test would refuse its config, instead of booting into that."""
    if path is not None and (
        why := config.hook.pytest_build_os_refusal(config_file=path, build_json=locate_build_json(config))
    ):
        pytest.fail(f"{why}\n  = a test of just this says check=False", pytrace=False)


def compile_allowed_patterns(item: pytest.Item) -> list[re.Pattern[str]]:
    """What ``allow_console`` markers on the test, its class and its module allow."""
    return [re.compile(pattern) for mark in item.iter_markers("allow_console") for pattern in mark.args]


def write_config(config: Path | str | None, target: Path) -> Path | None:
    """A first-boot configuration as a file; text is written to ``target``."""
    if not isinstance(config, str):
        return config
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(config, encoding="utf-8")
    return target


def make_mark_name(config: Path | None, options: dict[str, Any]) -> str:
    """A short name for the folder of the machine that tests with the same marker share."""
    content = b"" if config is None else config.read_bytes()
    return hashlib.sha256(content + repr(sorted(options.items())).encode()).hexdigest()[:12]


def make_deadline(seconds: float, verdict: Verdict) -> Deadline:
    """A deadline that begins now, stretched as this host needs it."""
    return Deadline(seconds, choose_timeout_scale(verdict.accel, os.environ))


def fail_on_bad_signs(machines: Sequence[Machine]) -> None:
    """Fail the test if a machine has shown bad signs."""
    complaints = [
        f"{machine.folder.root.name}: {sighting.sign.name} after {sighting.line.seconds:.1f} s: {sighting.line.text}"
        for machine in machines
        for sighting in machine.sightings
    ]
    if complaints:
        pytest.fail("bad signs on the console or in the journal:\n  " + "\n  ".join(complaints), pytrace=False)
