"""What a test waits for: a line, a unit, an answer, the end of a boot."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from vm.guest.checks import BannerCheck, HttpCheck, UnitCheck
from vm.guest.console import Line
from vm.guest.firstboot_events import Event
from vm.guest.probe_client import Greeting
from vm.machine.base import GRACE_SECONDS, LOGIN, BaseMachine
from vm.registry.running import SSH_PORT
from vm.spec import Accel
from vm.waiting.deadline import Deadline
from vm.waiting.wait import Wait, is_hidden

T = TypeVar("T")
__tracebackhide__ = is_hidden


class WaitingMachine(BaseMachine):
    """A machine whose outcomes can be waited for, each within a limit of its own or the machine's deadline."""

    def wait_console(self, pattern: str | re.Pattern[str], within: float | None = None) -> Line:
        """Wait for a line of this boot's console in which the pattern is found.

        Args:
            within: seconds, if this wait is to end earlier than the machine's deadline.

        Raises:
            VmError: as every wait: bad news, or the deadline.
        """
        line = self.transcript.wait_for(pattern, self._deadline(within), since=self._boot_line, bad_news=self._bad_news)
        if LOGIN.search(line.text):
            self.release_boot_slot()
        return line

    def wait_firstboot(self, within: float | None = None) -> Event:
        """Wait until the first boot has finished well.

        Raises:
            VmError: it failed; the message is the guest's own.
        """

        def finished() -> Event | None:
            return self.firstboot.find_finished() if self.is_provisioned else None

        event = self._until(finished, "first boot to finish", within)
        self.timeline.add("first boot finished")
        return event

    def wait_probe(self, within: float | None = None) -> Greeting:
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
        look = UnitCheck(self.probe, name, state, deadline, last, pause)
        wait = Wait(f"{name} to be {state}", deadline, look.show_evidence)
        properties = self._notifier.wait_until(look, wait, self._bad_news)
        self.timeline.add(f"{name} {state}")
        self.release_boot_slot()
        return properties

    def wait_http(self, port: int, path: str = "/", *, expect: int = 200, within: float | None = None) -> str:
        """Wait until the guest answers a GET with status ``expect``; returns the body (up to 1 MiB)."""
        look = HttpCheck(self.forward(port), path, expect)
        wait = Wait(f"an answer from the guest's port {port}", self._deadline(within), look.show_evidence)
        body = self._notifier.wait_until(look, wait, self._bad_news)
        self.timeline.add(f"port {port} answers")
        self.release_boot_slot()
        return body

    def wait_ssh(self, within: float | None = None) -> str:
        """Wait until the guest's ssh server answers; returns what it calls itself."""
        look = BannerCheck(self.forward(SSH_PORT))
        wait = Wait("an answer from the guest's ssh server", self._deadline(within), look.show_evidence)
        banner = self._notifier.wait_until(look, wait, self._bad_news)
        self.timeline.add("ssh answers")
        self.release_boot_slot()
        return banner

    def wait_exit(self, within: float | None = None) -> int:
        """Wait until the machine is off; returns QEMU's exit status."""
        wait = Wait("the machine to be off", self._deadline(within), self.transcript.show_tail)
        status = self._notifier.wait_until(self._process.find_exit_status, wait)
        self.timeline.add("off")
        self.release_boot_slot()
        return status

    def wait_reboot(self, within: float | None = None) -> None:
        """Wait until the guest has rebooted by itself since it was last switched on; with a probe, until that runs."""
        self.wait_reset(within)
        if self._with_probe:
            self.wait_probe(within)

    def wait_reset(self, within: float | None = None) -> None:
        """Wait only until the guest has been reset, by itself or by its hardware."""
        wait = Wait("the guest to reboot", self._deadline(within), self.transcript.show_tail)
        self._notifier.wait_until(self._reset_seen, wait, self._exit_news)
        self.timeline.add("reboots")
        self._new_boot()

    def _reset_seen(self) -> object | None:
        return self.qmp.find_event("RESET", self._boot_event)

    def forward(self, guest_port: int) -> int:
        """The port on 127.0.0.1 that leads to a TCP port of the guest; made when it is not there yet."""
        if guest_port not in self.forwards:
            self.forwards[guest_port] = self.qmp.add_forward(guest_port, self.deadline)
        return self.forwards[guest_port]

    def _until(self, look: Callable[[], T | None], what: str, within: float | None) -> T:
        wait = Wait(what, self._deadline(within), self.transcript.show_tail)
        return self._notifier.wait_until(look, wait, self._bad_news)
