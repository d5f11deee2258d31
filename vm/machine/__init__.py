"""A running machine: wait for it, run programs in its guest, switch, cut, damage, snapshot and reboot it.

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
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from builder.core.errors import VmError
from vm.disks import tamper
from vm.disks.prepare import make_disk
from vm.machine import golden
from vm.machine.commands import CommandedMachine
from vm.machine.counts import COUNTS
from vm.qemu import snapshots
from vm.registry.running import RunningMachine
from vm.spec import Disk
from vm.waiting.wait import is_hidden

__tracebackhide__ = is_hidden
PANIC = re.compile(r"Kernel panic - not syncing|sysrq: Trigger a crash")


class Machine(CommandedMachine):
    """One virtual machine, from power-on to its end; :class:`vm.machine.base.BaseMachine` says how one is made."""

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
        place = tamper.find_partition(tamper.list_partitions(disk, self._tools), partition)
        tamper.invert_bytes(disk, self._tools, place, offset, length)
        self.timeline.add(f"{partition} damaged")
        self._start()

    def shutdown(self, within: float | None = None) -> None:
        """Power off in good order.

        Raises:
            VmError: it does not, or QEMU ends badly.
        """
        deadline = self._deadline(within)
        if self._with_probe and self.probe.hello is not None:
            self.probe.leave("poweroff", deadline, self._process.find_exit_status)
        else:
            self.qmp.power_down(deadline)
        if (status := self.wait_exit(within)) != 0:
            raise VmError(f"QEMU ended with status {status}", details=self.folder.read_qemu_log())

    def crash(self, within: float | None = None) -> None:
        """Make the guest's kernel panic; what it does then (``kernel.panic``) is the test's to wait for."""
        self.transcript.expect(PANIC)
        since = self.transcript.position
        self.probe.leave("crash", self._deadline(within), lambda: self.transcript.find(PANIC, since))

    def snapshot(self, name: str = "golden", within: float | None = None) -> None:
        """Keep memory, devices and disks as they are now; :mod:`vm.qemu.snapshots` says what for."""
        snapshots.save_snapshot(self.qmp, name, self.spec.disks, self._deadline(within))
        events = tuple((event.seconds, event.message) for event in self.firstboot.events)
        self._kept[name] = golden.Snapshot(self.probe.hello, events)
        self.timeline.add(f"kept as {name}")

    def restore(self, name: str = "golden", within: float | None = None) -> None:
        """Go back to a snapshot of this machine, and on from there.

        Raises:
            VmError: it has none of this name.
        """
        deadline = self._deadline(within)
        snapshots.load_snapshot(self.qmp, name, self.spec.disks, deadline)
        COUNTS.restores += 1
        self._boot_event = self.qmp.event_count
        if name in self._kept:
            self._recall(self._kept[name])
        self.transcript.note(f"restored {name}")
        self.qmp.resume(deadline)
        self.timeline.add(f"back at {name}")

    def sleep(self) -> golden.Snapshot:
        """Switch off so that the machine can be woken up as it is now, by this or another process."""
        self.probe.wait(self.deadline)
        self.snapshot(golden.SNAPSHOT)
        with suppress(VmError):  # it may be gone before its answer is read
            self.qmp.quit(self.deadline)
        if (status := self.wait_exit()) != 0:
            raise VmError(f"QEMU ended with status {status}", details=self.folder.read_qemu_log())
        self._stop_run()
        return self._kept[golden.SNAPSHOT]

    def pause(self) -> None:
        """Halt the processors: the machine takes no processor time until :meth:`resume`."""
        self.qmp.stop(self.deadline)

    def resume(self) -> None:
        """Let the processors run again."""
        self.qmp.resume(self.deadline)

    def clock(self, moment: datetime) -> None:
        """Set the guest's clock, as an administrator or a time server would."""
        self.succeed("date", "--utc", "--set", f"@{moment.timestamp():.0f}")

    def net_down(self) -> None:
        """Pull the network cable out of the machine's first card."""
        self.qmp.set_link(self._first_netdev, up=False, deadline=self.deadline)

    def net_up(self) -> None:
        """Put the cable back."""
        self.qmp.set_link(self._first_netdev, up=True, deadline=self.deadline)

    @property
    def _first_netdev(self) -> str:
        # As vm/qemu/argv.py calls it: a machine of a cluster is plugged in to that first.
        return "cable0" if self._cables else "net0"

    def add_disk(self, size: int, serial: str) -> None:
        """Plug in an empty disk of ``size`` bytes; needs a machine with ``hotplug``. It is not in later snapshots.

        Raises:
            VmError: no slot is free, or the serial number is taken.
        """
        disk = Disk(self.folder.locate_disk(len(self.spec.disks) + len(self._plugged)), size=size, serial=serial)
        make_disk(disk, self._tools)
        self.qmp.plug_disk(f"plug{len(self._plugged)}", disk, self.deadline)
        self._plugged.append(disk)

    def screenshot(self, path: Path | None = None) -> Path:
        """A picture of the screen as PNG (by default in the machine's folder); needs a machine with ``video``."""
        target = self.folder.screenshot if path is None else path.absolute()
        self.qmp.save_screen(target, self.deadline)
        return target

    def leave(self, user: str | None = None, key: Path | None = None) -> RunningMachine:
        """Let the machine run on when this block ends; says where it is. Only with ``outlive``."""
        assert self._outlive, "a machine that dies with us cannot be left"
        self._left = True
        return RunningMachine.describe(self.spec.name, self._process.pid, self.folder, self.forwards, user, key)

    def type(self, text: str | bytes) -> None:
        """Type on the serial line."""
        self._connection.serial.sendall(text.encode() if isinstance(text, str) else text)

    def _pull_the_plug(self) -> None:
        self._process.kill()
        self._stop_run()
        self.release_boot_slot()  # as far as it will: the next boot asks for its turn like any other
