"""QEMU's machine protocol, as much as is needed (qmp-spec; ``docs/interop/qmp-spec.rst`` of QEMU).

Not the ``qemu.qmp`` package: it is built on asyncio, and what is needed here is a request, its answer, and events.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder.core.errors import VmError
from vm.spec import Disk
from vm.waiting.channel import LineChannel, Message
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier, Wait, is_hidden

__tracebackhide__ = is_hidden
MAX_EVENTS = 1000
FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)")


class Qmp:
    """A monitor connection. Safe to use from several threads, one command at a time.

    Args:
        gone: why QEMU will not answer any more, if so.
    """

    def __init__(
        self, sock: socket.socket, notifier: Notifier, gone: Callable[[], BadNews | None] = lambda: None
    ) -> None:
        self._notifier = notifier
        self._gone = gone
        self._lock = threading.Lock()
        self._number = 0
        self._greeting: Message | None = None
        self._answers: dict[int, Message] = {}
        self._events: deque[Message] = deque(maxlen=MAX_EVENTS)
        self._event_count = 0
        self._jobs = 0
        self._channel = LineChannel(sock, "QEMU monitor", self._receive, limit=4 << 20)

    def connect(self, deadline: Deadline) -> None:
        """Wait for the greeting and leave negotiation mode.

        Raises:
            VmError: QEMU ended, or does not answer.
        """
        self._channel.start()
        self._until(lambda: self._greeting, "QEMU's greeting", deadline)
        self.run_command("qmp_capabilities", deadline)

    def close(self) -> None:
        """Hang up. QEMU goes on."""
        self._channel.close()

    def run_command(self, name: str, deadline: Deadline, /, **arguments: object) -> Any:
        """Execute a command and return its result. Underscores in argument names become hyphens.

        Raises:
            VmError: QEMU refused it, ended, or does not answer.
        """
        with self._lock:
            self._number += 1
            number = self._number
            request: Message = {"execute": name, "id": number}
            if arguments:
                request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
            try:
                self._channel.send(request, deadline)
            except VmError:
                if not self._channel.ended:
                    raise
                # Waiting for the answer tells why there is nobody.
            answer = self._until(lambda: self._answers.pop(number, None), f"QEMU to answer '{name}'", deadline)
        if "error" in answer:
            raise VmError(f"QEMU refused '{name}': {answer['error'].get('desc', 'no reason given')}")
        return answer.get("return")

    def run_job(self, name: str, deadline: Deadline, **arguments: object) -> None:
        """Execute a command that QEMU works on in the background, and wait until it is done.

        Raises:
            VmError: QEMU refused it, it failed, or the deadline.
        """
        self._jobs += 1
        job = f"job{self._jobs}"
        seen = self._event_count
        self.run_command(name, deadline, job_id=job, **arguments)

        def concluded() -> Message | None:
            events = list(self._events)[-max(1, self._event_count - seen) :]
            states = (event["data"] for event in events if event.get("event") == "JOB_STATUS_CHANGE")
            return next((data for data in states if (data["id"], data["status"]) == (job, "concluded")), None)

        self._until(concluded, f"QEMU's {name}", deadline)
        done = next(status for status in self.run_command("query-jobs", deadline) if status["id"] == job)
        self.run_command("job-dismiss", deadline, id=job)
        if error := done.get("error"):
            raise VmError(f"QEMU's {name} failed: {error}")

    @property
    def event_count(self) -> int:
        """How many events came so far; where to look from."""
        return self._event_count

    def find_event(self, name: str, since: int = 0) -> Message | None:
        """The first event of this name after the first ``since`` ones, as far as still remembered."""
        events = list(self._events)
        skip = max(0, len(events) - (self._event_count - since))
        return next((event for event in events[skip:] if event.get("event") == name), None)

    def wait_event(self, name: str, deadline: Deadline, since: int = 0) -> Message:
        """Wait for an event.

        Raises:
            VmError: QEMU ended, or the deadline.
        """
        return self._until(lambda: self.find_event(name, since), f"QEMU's event {name}", deadline)

    def resume(self, deadline: Deadline) -> None:
        """Let the processors run."""
        self.run_command("cont", deadline)

    def stop(self, deadline: Deadline) -> None:
        """Halt the processors."""
        self.run_command("stop", deadline)

    def read_status(self, deadline: Deadline) -> str:
        """``running``, ``paused``, ``prelaunch``, ``shutdown`` ..."""
        return str(self.run_command("query-status", deadline)["status"])

    def power_down(self, deadline: Deadline) -> None:
        """Press the power button."""
        self.run_command("system_powerdown", deadline)

    def reset(self, deadline: Deadline) -> None:
        """Press the reset button."""
        self.run_command("system_reset", deadline)

    def quit(self, deadline: Deadline) -> None:
        """End QEMU, writing out what it has in memory of the disks."""
        self.run_command("quit", deadline)

    def save_screen(self, path: Path, deadline: Deadline) -> None:
        """Write a PNG of the screen; needs a machine with ``video``."""
        self.run_command("screendump", deadline, filename=str(path), format="png")

    def set_link(self, netdev: str, *, up: bool, deadline: Deadline) -> None:
        """Plug a network cable in or out."""
        self.run_command("set_link", deadline, name=netdev, up=up)

    def plug_disk(self, node: str, disk: Disk, deadline: Deadline) -> None:
        """Plug a virtio disk into a free slot.

        Raises:
            VmError: no slot is free, or QEMU cannot use the file.
        """
        file = {"driver": "file", "filename": str(disk.path)}
        self.run_command("blockdev-add", deadline, node_name=node, driver=disk.format, file=file)
        slot = node.removeprefix("plug")
        arguments = {"driver": "virtio-blk-pci", "id": node, "drive": node, "bus": f"slot{slot}"}
        self.run_command("device_add", deadline, **arguments, **({"serial": disk.serial} if disk.serial else {}))

    def list_forwards(self, deadline: Deadline) -> dict[int, int]:
        """Guest port -> host port of each TCP forward, as they really are."""
        text = self.run_command("human-monitor-command", deadline, command_line="info usernet")
        return {int(guest): int(host) for host, guest in FORWARD.findall(str(text))}

    def add_forward(self, guest: int, deadline: Deadline, host: int = 0) -> int:
        """Forward one more port on 127.0.0.1; returns the host port.

        Raises:
            VmError: the host port is taken, or the machine has no network.
        """
        rule = f"tcp:127.0.0.1:{host}-:{guest}"
        said = self.run_command("human-monitor-command", deadline, command_line=f"hostfwd_add net0 {rule}")
        if str(said).strip():
            raise VmError(f"cannot forward to the guest's port {guest}: {str(said).strip()}")
        return self.list_forwards(deadline)[guest]

    def _until(self, look: Callable[[], Message | None], what: str, deadline: Deadline) -> Message:
        return self._notifier.wait_until(look, Wait(what, deadline), self._bad_news)

    def _bad_news(self) -> BadNews | None:
        if (news := self._gone()) is not None:
            return news
        return BadNews("QEMU closed its monitor") if self._channel.long_ended else None

    def _receive(self, message: Message) -> None:
        if "QMP" in message:
            self._greeting = message
        elif "event" in message:
            self._events.append(message)
            self._event_count += 1
        elif isinstance(number := message.get("id"), int):
            self._answers[number] = message
        self._notifier.notify()
