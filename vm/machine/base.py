"""A machine from power-on to its end: its QEMU, and everything that is heard of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.core.errors import VmError
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel.boot_slot import BootSlot
from vm.disks.prepare import prepare
from vm.guest.bad_signs import FIRST_BOOT_FAILED
from vm.guest.console import Sighting, Transcript
from vm.guest.firstboot_events import FirstbootEvents
from vm.guest.probe_client import Probe
from vm.machine import golden
from vm.machine.counts import COUNTS
from vm.machine.timeline import Timeline
from vm.network.segment import Nic, Segment
from vm.qemu import snapshots
from vm.qemu.process import QemuProcess
from vm.qemu.qmp import Qmp
from vm.qemu.start import Connection, connect
from vm.spec import Accel, Disk, VmSpec
from vm.spec.folder import MachineFolder
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier, Wait, is_hidden

__tracebackhide__ = is_hidden

# A failure's text comes on the console and, a moment later, better, on its own channel; last words take a moment too.
GRACE_SECONDS = 1.0
GOODBYE_SECONDS = 5.0
LOGIN = re.compile(r"login: *$")


class BaseMachine:
    """One virtual machine, from power-on to its end.

    Args:
        spec: what it is; serial line, monitor and ports are made here.
        tools: where QEMU is.
        deadline: shared by all waits.
        folder: its own; logs stay there, disks go when the machine is put away.
        store: where the lock lies that lets one machine boot at a time under emulation; none, no waiting.
        probe: whether the guest is told to run :mod:`vm.guest.probe`, which run, read, unit and reboot need.
        allow: console lines that are not bad signs in this scenario.
        echo: called with what the serial line says, as it comes.
        outlive: the machine may be left running with :meth:`leave`.
        patient: units that fail, and other bad signs that a machine survives, do not end waits.
        cables: networks of machines that it is plugged in to (:mod:`vm.network.segment`).
        asleep: the folder of a golden machine (:mod:`vm.machine.golden`) to wake up instead of booting.
    """

    def __init__(
        self,
        spec: VmSpec,
        tools: Tools,
        deadline: Deadline,
        *,
        folder: Path,
        store: Store | None = None,
        probe: bool = True,
        allow: Sequence[str | re.Pattern[str]] = (),
        echo: Callable[[bytes], None] | None = None,
        outlive: bool = False,
        patient: bool = False,
        asleep: Path | None = None,
        cables: Sequence[tuple[Segment, Nic]] = (),
    ) -> None:
        self.spec = spec
        self.deadline = deadline
        self.folder = MachineFolder(folder)
        self.boots = 0
        self.timeline = Timeline()
        self._tools = tools
        self._with_probe = probe
        self._outlive = outlive
        self._patient = patient
        self._notifier = Notifier()
        self.transcript = Transcript(
            self._notifier,
            # QEMU itself writes the log of a machine that may go on without us.
            None if outlive else self.folder.serial_log,
            emulated=spec.accel is Accel.TCG,
            allow=[re.compile(pattern) for pattern in allow],
            echo=echo,
        )
        self._slot = BootSlot(store, tools.console, spec.accel) if store is not None else None
        self._run = ExitStack()  # what one start of QEMU holds
        self._boot_line = 0
        self._boot_event = 0
        self._runs: list[QemuProcess] = []
        self._connected = False
        self._left = False
        self._plugged: list[Disk] = []
        self._asleep = asleep
        self._kept: dict[str, golden.Snapshot] = {}  # by the snapshot's name
        self._cables = tuple(cables)
        self._cursor = ""

    def __enter__(self) -> Self:
        try:
            self.folder.create()
            snapshot = None if self._asleep is None else golden.wake_golden(self._asleep, self.folder)
            self.spec = prepare(self.spec, self._tools, self.folder, probe=self._with_probe)
            if snapshot is None:
                self._start()
            else:
                self._wake(snapshot)
        except BaseException as error:
            self._put_away(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put_away(error)

    def start_over(self, allow: Sequence[re.Pattern[str]]) -> None:
        """Another test takes the machine over: what the last one saw and left to read is not its own."""
        self.transcript.start_over(allow)
        self.timeline.start_over()
        self.folder.forget_failure()

    def _start(self) -> None:
        self._power_on()
        if self._slot is not None:
            self.deadline.extend(self._slot.take())
        self._new_boot()
        self.qmp.resume(self.deadline)
        self.timeline.add("power on")

    def _wake(self, snapshot: golden.Snapshot) -> None:
        self._power_on()
        self._new_boot()
        snapshots.load_snapshot(self.qmp, golden.SNAPSHOT, self.spec.disks, self.deadline)
        COUNTS.restores += 1
        self._kept[golden.SNAPSHOT] = snapshot
        self._recall(snapshot)
        self.transcript.note("woken up")
        self.qmp.resume(self.deadline)
        self.timeline.add("woken up")

    def _recall(self, snapshot: golden.Snapshot) -> None:
        """What was said after the moment that the machine goes on from was never said."""
        self.firstboot.remember(snapshot.firstboot)
        self.probe.remember(snapshot.hello)

    def _power_on(self) -> None:
        """Start QEMU with its processors halted."""
        deadline = self.deadline
        keep = (lambda: self._left) if self._outlive else None
        connection = connect(
            self.spec,
            self._tools,
            self.folder,
            self._run,
            probe_port=self._with_probe,
            keep=keep,
            cables=self._cables,
        )
        self._connection = connection
        self._process = QemuProcess(connection.process)
        self._runs.append(self._process)
        self._attach(connection)
        self.qmp.connect(deadline)
        self._connected = True
        self.forwards = self.qmp.list_forwards(deadline) if self.spec.forwards else {}

    def _attach(self, connection: Connection) -> None:
        """Listen to everything before the first instruction runs."""
        seconds = lambda: self.transcript.seconds  # noqa: E731 - the clock that all listeners share
        self.qmp = Qmp(connection.qmp, self._notifier, self._exit_news)
        self._run.callback(self.qmp.close)
        self.firstboot = FirstbootEvents(
            connection.firstboot,
            self._notifier,
            seconds,
            self.folder.firstboot_result,
            self.release_boot_slot,  # the kernel has long begun: from here on another machine does not disturb it
        )
        self._run.callback(self.firstboot.channel.close)
        self.firstboot.channel.start()
        self.probe = Probe(
            connection.probe, self._notifier, self._bad_news, seconds, self._greeted, self.transcript.show_tail
        )
        self._run.callback(self.probe.channel.close)
        self.probe.channel.start()
        connection.listen(self.transcript, self._run)

    def _new_boot(self) -> None:
        self.boots += 1
        COUNTS.boots += self._asleep is None or self.boots > 1  # the first of a machine that is woken up is none
        self.transcript.power_on()
        self._boot_line = self.transcript.position
        self._boot_event = self.qmp.event_count
        self.firstboot.forget()
        self.probe.forget()

    def _greeted(self) -> None:
        self.timeline.add("user space")
        self.release_boot_slot()

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Bad signs that the console has shown; none if the machine never started."""
        return self.transcript.sightings

    @property
    def is_off(self) -> bool:
        """Whether QEMU has ended."""
        return self._process.find_exit_status() is not None

    @property
    def is_provisioned(self) -> bool:
        """Whether the first boot has told that it has gone well."""
        event = self.firstboot.find_finished()
        return event is not None and event.message.get("result") == "ok"

    def release_if_booted(self) -> None:
        """Look whether the boot is over, well or badly, where nobody waits for it; then the next machine may boot."""
        if self._slot is None or not self._slot.is_held:
            return
        over = self.transcript.find(LOGIN, self._boot_line) or self.transcript.find_bad_news(fatal=True)
        if over is not None or self.is_off:
            self.release_boot_slot()

    def release_boot_slot(self) -> None:
        """Tell that the next machine may boot; waits that show as much say so themselves."""
        if self._slot is not None:
            self._slot.give_back()

    def cpu_seconds(self) -> float:
        """Processor time that QEMU has used since the machine was first switched on."""
        return sum(process.measure_cpu_seconds() for process in self._runs)

    def _deadline(self, within: float | None) -> Deadline:
        return self.deadline if within is None else self.deadline.shorten(within)

    def _bad_news(self) -> BadNews | None:
        if (news := self.firstboot.find_bad_news()) is not None:
            return news
        sighting = next(
            (sighting for sighting in self.transcript.sightings if sighting.sign.fatal or not self._patient), None
        )
        first_boot = sighting is not None and sighting.sign.hint == FIRST_BOOT_FAILED
        if first_boot and sighting is not None and time.monotonic() - sighting.seen < GRACE_SECONDS:
            return None
        return self.transcript.find_bad_news(fatal=self._patient) or self._exit_news()

    def _exit_news(self) -> BadNews | None:
        status = self._process.find_exit_status()
        if status is None or (not self.transcript.ended and self._process.measure_seconds_since_exit() < GRACE_SECONDS):
            return None  # its last words are still on their way
        if status == 0:
            return BadNews("the machine powered itself off", self.transcript.show_tail())
        said = self.folder.read_qemu_log()
        return BadNews(f"QEMU ended with status {status}", said, _advice(status, "\n".join(said)))

    def _put_away(self, error: BaseException | None) -> None:
        """End the machine (unless it is left) and release everything; name the logs in an error of ours."""
        if error is not None:
            self._left = False  # nobody will ever know that it runs
        try:
            if not self._left:
                self._say_goodbye()
            self._stop_run()
        finally:
            self.release_boot_slot()
            self.transcript.close()
            if not self._left:
                self.folder.clear_state()
            if isinstance(error, VmError):
                error.details = (*error.details, *self.folder.list_logs())

    def _say_goodbye(self) -> None:
        """Let QEMU end by itself, if it still listens; whoever started it makes sure."""
        if not self._connected or self._process.find_exit_status() is not None:
            return
        deadline = Deadline(GOODBYE_SECONDS)
        with suppress(VmError):
            self.qmp.quit(deadline)
            self._notifier.wait_until(self._process.find_exit_status, Wait("QEMU to end", deadline))

    def _stop_run(self) -> None:
        self._connected = False
        run, self._run = self._run, ExitStack()
        run.close()


def _advice(status: int, said: str) -> str | None:
    if "host forwarding rule" in said:
        return "another program has that port; choose another, or none and let one be chosen"
    if "Failed to get" in said and "lock" in said:
        return "another machine uses that disk"
    return "run 'build-os doctor'" if status == 125 else None
