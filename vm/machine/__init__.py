"""A running machine, with a vocabulary that reads like prose.

Example::

    with Machine(spec, tools, Deadline(120, scale), folder=folder) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        assert machine.succeed("id -un 1000") == "core"

Started with its processors halted, so that nothing is missed; always put away: politely, then firmly, then killed.
Start machines from a thread that lives as long as they do, because a QEMU dies with the thread that started it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from builder.core.errors import VmError
from builder.core.store import Store
from builder.core.tools import Tools
from vm.accel.boot_slot import BootSlot
from vm.disks import tamper
from vm.disks.prepare import make_disk, prepare
from vm.guest.bad_signs import FIRST_BOOT_FAILED
from vm.guest.console import Line, Sighting, Transcript
from vm.guest.firstboot_events import Event, FirstbootEvents
from vm.guest.looks import BannerLook, HttpLook, UnitLook
from vm.guest.probe_client import Hello, Probe, Result
from vm.machine import golden
from vm.machine.counts import TALLY
from vm.machine.timeline import Timeline
from vm.network.segment import Nic, Segment
from vm.qemu import snapshots
from vm.qemu.process import QemuProcess
from vm.qemu.qmp import Qmp
from vm.qemu.start import Connection, connect
from vm.registry.running import SSH_PORT, Record
from vm.spec import Accel, Disk, VmSpec
from vm.spec.folder import MachineFolder
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Bell, Wait, hidden

T = TypeVar("T")
__tracebackhide__ = hidden

# A failure's text comes on the console and, a moment later, better, on its own channel; last words take a moment too.
GRACE_SECONDS = 1.0
GOODBYE_SECONDS = 5.0
JOURNAL_SECONDS = 20.0
LOGIN = re.compile(r"login: *$")
PANIC = re.compile(r"Kernel panic - not syncing|sysrq: Trigger a crash")


class Machine:
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
        self._bell = Bell()
        self.transcript = Transcript(
            self._bell,
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
        self._kept: dict[str, golden.Memento] = {}  # by the snapshot's name
        self._cables = tuple(cables)
        self._cursor = ""

    def __enter__(self) -> Self:
        try:
            self.folder.create()
            memento = None if self._asleep is None else golden.wake(self._asleep, self.folder)
            self.spec = prepare(self.spec, self._tools, self.folder, probe=self._with_probe)
            if memento is None:
                self._start()
            else:
                self._wake(memento)
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

    # Waiting

    def wait_console(self, pattern: str | re.Pattern[str], within: float | None = None) -> Line:
        """Wait for a line of this boot's console in which the pattern is found.

        Args:
            within: seconds, if this wait is to end earlier than the machine's deadline.

        Raises:
            VmError: as every wait: bad news, or the deadline.
        """
        line = self.transcript.wait_for(pattern, self._deadline(within), since=self._boot_line, bad_news=self._bad_news)
        if LOGIN.search(line.text):
            self.booted()
        return line

    def wait_firstboot(self, within: float | None = None) -> Event:
        """Wait until the first boot has finished well.

        Raises:
            VmError: it failed; the message is the guest's own.
        """

        def finished() -> Event | None:
            return self.firstboot.finished() if self.is_provisioned else None

        event = self._until(finished, "first boot to finish", within)
        self.timeline.add("first boot finished")
        return event

    def wait_probe(self, within: float | None = None) -> Hello:
        """Wait until the guest's user space runs the probe."""
        return self.probe.wait(self._deadline(within))

    def wait_unit(self, name: str, state: str = "active", within: float | None = None) -> dict[str, str]:
        """Wait until a unit is in a state; returns its main properties.

        Raises:
            VmError: it failed (with its last journal lines), or there is no such unit.
        """
        deadline = self._deadline(within)
        self.probe.wait(deadline)
        # A question that is under way when time is up may still be answered, so that we can say what was seen last.
        last = Deadline(deadline.remaining + GRACE_SECONDS)
        pause = 1.0 if self.spec.accel is Accel.TCG else 0.2
        look = UnitLook(self.probe, name, state, deadline, last, pause)
        wait = Wait(f"{name} to be {state}", deadline, look.evidence)
        found = self._bell.until(look, wait, self._bad_news)
        self.timeline.add(f"{name} {state}")
        self.booted()
        return found

    def wait_http(self, port: int, path: str = "/", *, expect: int = 200, within: float | None = None) -> str:
        """Wait until the guest answers a GET with status ``expect``; returns the body (up to 1 MiB)."""
        look = HttpLook(self.forward(port), path, expect)
        wait = Wait(f"an answer from the guest's port {port}", self._deadline(within), look.evidence)
        body = self._bell.until(look, wait, self._bad_news)
        self.timeline.add(f"port {port} answers")
        self.booted()
        return body

    def wait_ssh(self, within: float | None = None) -> str:
        """Wait until the guest's ssh server answers; returns what it calls itself."""
        look = BannerLook(self.forward(SSH_PORT))
        wait = Wait("an answer from the guest's ssh server", self._deadline(within), look.evidence)
        banner = self._bell.until(look, wait, self._bad_news)
        self.timeline.add("ssh answers")
        self.booted()
        return banner

    def wait_exit(self, within: float | None = None) -> int:
        """Wait until the machine is off; returns QEMU's exit status."""
        wait = Wait("the machine to be off", self._deadline(within), self.transcript.tail)
        status = self._bell.until(self._process.exit_status, wait)
        self.timeline.add("off")
        self.booted()
        return status

    # Inside the guest, through the probe

    def run(self, *argv: str, stdin: bytes = b"", within: float | None = None) -> Result:
        """Run a program as root. A single argument is split into words; no shell is involved."""
        return self.probe.run(argv, self._deadline(within), stdin)

    def run_until_reboot(self, *argv: str, within: float | None = None) -> Result | None:
        """Run a program that may reboot the machine; None if that is what happened (:meth:`wait_reboot` comes next)."""
        return self.probe.run_unless(self._reset_seen, argv, self._deadline(within))

    def succeed(self, *argv: str, stdin: bytes = b"", within: float | None = None) -> str:
        """Run a program that must succeed; returns its output without the last newline.

        Raises:
            VmError: it failed.
        """
        result = self.run(*argv, stdin=stdin, within=within)
        if result.status != 0:
            raise VmError(
                f"{' '.join(result.argv)} failed in the guest with status {result.status}",
                details=_said(result),
            )
        return result.stdout.removesuffix("\n")

    def fail(self, *argv: str, within: float | None = None) -> Result:
        """Run a program that must fail.

        Raises:
            VmError: it succeeded.
        """
        result = self.run(*argv, within=within)
        if result.status == 0:
            raise VmError(f"{' '.join(result.argv)} succeeded in the guest, and should not", details=_said(result))
        return result

    def read(self, path: str) -> str:
        """A file's content, as text."""
        return self.probe.read(path, self.deadline).decode("utf-8", errors="replace")

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file."""
        self.probe.write(path, data.encode() if isinstance(data, str) else data, self.deadline, mode)

    def unit(self, name: str) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` gives them."""
        return self.probe.unit(name, self.deadline)

    def journal(self, *arguments: str, boot: bool = True) -> list[str]:
        """Lines of the journal (``journalctl(1)``), by default of this boot: ``journal("-u", "ssh.service")``."""
        which = ("-b",) if boot else ()
        return self.succeed("journalctl", "-q", "--no-pager", "-o", "short-monotonic", *which, *arguments).splitlines()

    def scan_journal(self) -> None:
        """Look for bad signs in what the journal has got since the last look; they are told by :attr:`sightings`.

        Raises:
            VmError: the machine cannot be asked.
        """
        if self.probe.hello is None or self.is_off:
            raise VmError("the machine does not run its probe")
        since = ("--after-cursor", self._cursor) if self._cursor else ("-b",)
        command = ("journalctl", "-q", "--no-pager", "-o", "cat", "--show-cursor", *since)
        *lines, cursor = self.succeed(*command, within=JOURNAL_SECONDS).splitlines() or [""]
        if cursor.startswith("-- cursor: "):
            self._cursor = cursor.removeprefix("-- cursor: ")
        self.transcript.take_journal(lines)

    # Power

    def reboot(self, *, hard: bool = False, within: float | None = None) -> None:
        """Reboot, and come back when the firmware starts again; with a probe, when that runs again.

        Args:
            hard: press the reset button instead of asking the guest.
        """
        deadline = self._deadline(within)
        self._boot_event = self.qmp.event_count
        if hard or not self._with_probe:
            self.qmp.reset(deadline)
        else:
            self.probe.leave("reboot", deadline, self._reset_seen)
        self.wait_reboot(within)

    def wait_reboot(self, within: float | None = None) -> None:
        """Wait until the guest has rebooted by itself since it was last switched on; with a probe, until that runs."""
        self.wait_reset(within)
        if self._with_probe:
            self.wait_probe(within)

    def wait_reset(self, within: float | None = None) -> None:
        """Wait only until the guest has been reset, by itself or by its hardware."""
        wait = Wait("the guest to reboot", self._deadline(within), self.transcript.tail)
        self._bell.until(self._reset_seen, wait, self._exit_news)
        self.timeline.add("reboots")
        self._new_boot()

    def _reset_seen(self) -> object | None:
        return self.qmp.find_event("RESET", self._boot_event)

    def boot(self) -> None:
        """Switch on again a machine that is off; its disks are as it left them.

        Raises:
            VmError: it is not off.
        """
        if not self.is_off:
            raise VmError("the machine is on already", hint="shutdown() and wait_exit() come before boot()")
        self._stop_run()
        self._start()

    def unplug(self) -> None:
        """Pull the plug; :meth:`boot` switches on again. In between the disks can be changed, or others put in place
        by :attr:`spec`.
        """
        self._pull_the_plug()
        self.timeline.add("unplugged")

    def power_cut(self) -> None:
        """Pull the plug and switch on again: what the guest had not flushed to its disks is lost."""
        self._pull_the_plug()
        self.timeline.add("power cut")
        self._start()

    def tamper(self, partition: str, offset: int = 0, length: int = 1) -> None:
        """Pull the plug, invert some bytes of a partition of the boot disk, and switch on again.

        Args:
            partition: its name in the partition table, or its type: ``root``, ``root-verity``, ``esp``.
            offset, length: in bytes, from its beginning.

        Raises:
            VmError: there is no such partition, or it is smaller.
        """
        self._pull_the_plug()
        disk = self.spec.disks[0]
        found = tamper.find(tamper.partitions(disk, self._tools), partition)
        tamper.flip(disk, self._tools, found, offset, length)
        self.timeline.add(f"{partition} damaged")
        self._start()

    def shutdown(self, within: float | None = None) -> None:
        """Power off in good order.

        Raises:
            VmError: it does not, or QEMU ends badly.
        """
        deadline = self._deadline(within)
        if self._with_probe and self.probe.hello is not None:
            self.probe.leave("poweroff", deadline, self._process.exit_status)
        else:
            self.qmp.powerdown(deadline)
        if (status := self.wait_exit(within)) != 0:
            raise VmError(f"QEMU ended with status {status}", details=self.folder.qemu_said())

    def crash(self, within: float | None = None) -> None:
        """Make the guest's kernel panic; what it does then (``kernel.panic``) is the test's to wait for."""
        self.transcript.expect(PANIC)
        since = self.transcript.position
        self.probe.leave("crash", self._deadline(within), lambda: self.transcript.find(PANIC, since))

    # Time

    def snapshot(self, name: str = "golden", within: float | None = None) -> None:
        """Keep memory, devices and disks as they are now; :mod:`vm.qemu.snapshots` says what for."""
        snapshots.save(self.qmp, name, self.spec.disks, self._deadline(within))
        events = tuple((event.seconds, event.message) for event in self.firstboot.events)
        self._kept[name] = golden.Memento(self.probe.hello, events)
        self.timeline.add(f"kept as {name}")

    def restore(self, name: str = "golden", within: float | None = None) -> None:
        """Go back to a snapshot of this machine, and on from there.

        Raises:
            VmError: it has none of this name.
        """
        deadline = self._deadline(within)
        snapshots.load(self.qmp, name, self.spec.disks, deadline)
        TALLY.restores += 1
        self._boot_event = self.qmp.event_count
        if name in self._kept:
            self._recall(self._kept[name])
        self.transcript.note(f"restored {name}")
        self.qmp.cont(deadline)
        self.timeline.add(f"back at {name}")

    def sleep(self) -> golden.Memento:
        """Switch off so that the machine can be woken up as it is now, by this or another process."""
        self.probe.wait(self.deadline)
        self.snapshot(golden.SNAPSHOT)
        with suppress(VmError):  # it may be gone before its answer is read
            self.qmp.quit(self.deadline)
        if (status := self.wait_exit()) != 0:
            raise VmError(f"QEMU ended with status {status}", details=self.folder.qemu_said())
        self._stop_run()
        return self._kept[golden.SNAPSHOT]

    def pause(self) -> None:
        """Halt the processors: the machine takes no processor time until :meth:`resume`."""
        self.qmp.stop(self.deadline)

    def resume(self) -> None:
        """Let the processors run again."""
        self.qmp.cont(self.deadline)

    def clock(self, moment: datetime) -> None:
        """Set the guest's clock, as an administrator or a time server would."""
        self.succeed("date", "--utc", "--set", f"@{moment.timestamp():.0f}")

    # Hardware

    def net_down(self) -> None:
        """Pull the network cable out of the machine's first card."""
        self.qmp.set_link("net0", up=False, deadline=self.deadline)

    def net_up(self) -> None:
        """Put the cable back."""
        self.qmp.set_link("net0", up=True, deadline=self.deadline)

    def add_disk(self, size: int, serial: str) -> None:
        """Plug in an empty disk of ``size`` bytes; needs a machine with ``hotplug``. It is not in later snapshots.

        Raises:
            VmError: no slot is free, or the serial number is taken.
        """
        disk = Disk(self.folder.disk(len(self.spec.disks) + len(self._plugged)), size=size, serial=serial)
        make_disk(disk, self._tools)
        self.qmp.plug_disk(f"plug{len(self._plugged)}", disk, self.deadline)
        self._plugged.append(disk)

    def screenshot(self, path: Path | None = None) -> Path:
        """A picture of the screen as PNG (by default in the machine's folder); needs a machine with ``video``."""
        target = self.folder.screenshot if path is None else path.absolute()
        self.qmp.screendump(target, self.deadline)
        return target

    def leave(self, user: str | None = None, key: Path | None = None) -> Record:
        """Let the machine run on when this block ends; says where it is. Only with ``outlive``."""
        assert self._outlive, "a machine that dies with us cannot be left"
        self._left = True
        return Record.of(self.spec.name, self._process.pid, self.folder, self.forwards, user, key)

    # Beside the guest

    def forward(self, guest_port: int) -> int:
        """The port on 127.0.0.1 that leads to a TCP port of the guest; made when it is not there yet."""
        if guest_port not in self.forwards:
            self.forwards[guest_port] = self.qmp.add_forward(guest_port, self.deadline)
        return self.forwards[guest_port]

    def type(self, text: str | bytes) -> None:
        """Type on the serial line."""
        self._connection.serial.sendall(text.encode() if isinstance(text, str) else text)

    def cpu_seconds(self) -> float:
        """Processor time that QEMU has used since the machine was first switched on."""
        return sum(process.cpu_seconds() for process in self._runs)

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Bad signs that the console has shown; none if the machine never started."""
        return self.transcript.sightings

    @property
    def is_off(self) -> bool:
        """Whether QEMU has ended."""
        return self._process.exit_status() is not None

    @property
    def is_provisioned(self) -> bool:
        """Whether the first boot has told that it has gone well."""
        event = self.firstboot.finished()
        return event is not None and event.message.get("result") == "ok"

    def notice_boot(self) -> None:
        """Look whether the boot is over, well or badly, where nobody waits for it; then the next machine may boot."""
        if self._slot is None or not self._slot.is_held:
            return
        over = self.transcript.find(LOGIN, self._boot_line) or self.transcript.bad_news(fatal=True)
        if over is not None or self.is_off:
            self.booted()

    def booted(self) -> None:
        """Tell that the next machine may boot; waits that show as much say so themselves."""
        if self._slot is not None:
            self._slot.give_back()

    # How

    def _greeted(self) -> None:
        self.timeline.add("user space")
        self.booted()

    def _start(self) -> None:
        self._power_on()
        if self._slot is not None:
            self.deadline.extend(self._slot.take())
        self._new_boot()
        self.qmp.cont(self.deadline)
        self.timeline.add("power on")

    def _wake(self, memento: golden.Memento) -> None:
        self._power_on()
        self._new_boot()
        snapshots.load(self.qmp, golden.SNAPSHOT, self.spec.disks, self.deadline)
        TALLY.restores += 1
        self._kept[golden.SNAPSHOT] = memento
        self._recall(memento)
        self.transcript.note("woken up")
        self.qmp.cont(self.deadline)
        self.timeline.add("woken up")

    def _recall(self, memento: golden.Memento) -> None:
        """What was said after the moment that the machine goes on from was never said."""
        self.firstboot.remember(memento.firstboot)
        self.probe.remember(memento.hello)

    def _pull_the_plug(self) -> None:
        self._process.kill()
        self._stop_run()
        self.booted()  # as far as it will: the next boot asks for its turn like any other

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
        self.forwards = self.qmp.forwards(deadline) if self.spec.forwards else {}

    def _attach(self, connection: Connection) -> None:
        """Listen to everything before the first instruction runs."""
        seconds = lambda: self.transcript.seconds  # noqa: E731 - the clock that all listeners share
        self.qmp = Qmp(connection.qmp, self._bell, self._exit_news)
        self._run.callback(self.qmp.close)
        self.firstboot = FirstbootEvents(connection.firstboot, self._bell, seconds, self.folder.firstboot_result)
        self._run.callback(self.firstboot.channel.close)
        self.firstboot.channel.start()
        self.probe = Probe(connection.probe, self._bell, self._bad_news, seconds, self._greeted, self.transcript.tail)
        self._run.callback(self.probe.channel.close)
        self.probe.channel.start()
        connection.listen(self.transcript, self._run)

    def _new_boot(self) -> None:
        self.boots += 1
        TALLY.boots += self._asleep is None or self.boots > 1  # the first of a machine that is woken up is none
        self.transcript.power_on()
        self._boot_line = self.transcript.position
        self._boot_event = self.qmp.event_count
        self.firstboot.forget()
        self.probe.forget()

    def _until(self, look: Callable[[], T | None], what: str, within: float | None) -> T:
        wait = Wait(what, self._deadline(within), self.transcript.tail)
        return self._bell.until(look, wait, self._bad_news)

    def _deadline(self, within: float | None) -> Deadline:
        return self.deadline if within is None else self.deadline.within(within)

    def _bad_news(self) -> BadNews | None:
        if (news := self.firstboot.bad_news()) is not None:
            return news
        sighting = next((each for each in self.transcript.sightings if each.sign.fatal or not self._patient), None)
        first_boot = sighting is not None and sighting.sign.hint == FIRST_BOOT_FAILED
        if first_boot and sighting is not None and time.monotonic() - sighting.seen < GRACE_SECONDS:
            return None
        return self.transcript.bad_news(fatal=self._patient) or self._exit_news()

    def _exit_news(self) -> BadNews | None:
        status = self._process.exit_status()
        if status is None or (not self.transcript.ended and self._process.seconds_since_exit() < GRACE_SECONDS):
            return None  # its last words are still on their way
        if status == 0:
            return BadNews("the machine powered itself off", self.transcript.tail())
        said = self.folder.qemu_said()
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
            self.booted()
            self.transcript.close()
            if not self._left:
                self.folder.clear_state()
            if isinstance(error, VmError):
                error.details = (*error.details, *self.folder.pointers())

    def _say_goodbye(self) -> None:
        """Let QEMU end by itself, if it still listens; whoever started it makes sure."""
        if not self._connected or self._process.exit_status() is not None:
            return
        deadline = Deadline(GOODBYE_SECONDS)
        with suppress(VmError):
            self.qmp.quit(deadline)
            self._bell.until(self._process.exit_status, Wait("QEMU to end", deadline))

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


def _said(result: Result) -> tuple[str, ...]:
    return (*result.stdout.splitlines()[-20:], *result.stderr.splitlines()[-20:])
