"""What the guest's first boot says over its virtio-serial port: that it began, and how it ended.

A failure ends every wait at once, with the guest's own message.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.core.files import write_file
from vm.guest.console import strip_controls
from vm.waiting.channel import LineChannel, Message
from vm.waiting.deadline import Clock
from vm.waiting.wait import BadNews, Notifier

PORT = "org.buildos.firstboot.0"
MAX_EVENTS = 100
MAX_SCREEN_LINES = 60


@dataclass(frozen=True)
class Event:
    """One message; ``seconds`` since power-on."""

    seconds: float
    message: Message

    @property
    def kind(self) -> str:
        """``started`` or ``finished``."""
        return str(self.message.get("event"))


class FirstbootEvents:
    """Listens to the port. Keeps the events of the current boot.

    Args:
        result: where the last event is written, for people.
        heard: called after each event.
    """

    def __init__(
        self,
        sock: socket.socket,
        notifier: Notifier,
        seconds: Clock,
        result: Path | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._notifier = notifier
        self._heard = heard
        self._seconds = seconds
        self._result = result
        self._events: list[Event] = []
        self.channel = LineChannel(sock, "first boot", self._receive)

    @property
    def events(self) -> tuple[Event, ...]:
        """What was said since power-on or the last reboot."""
        return tuple(self._events)

    def forget(self) -> None:
        """The machine reboots."""
        self._events = []

    def remember(self, events: Iterable[tuple[float, Message]]) -> None:
        """Take what was said to somebody else, before this machine was put to sleep."""
        self._events = [Event(seconds, message) for seconds, message in events]

    def find_finished(self) -> Event | None:
        """The final event, good or bad."""
        return next((event for event in self._events if event.kind == "finished"), None)

    def find_bad_news(self) -> BadNews | None:
        """The failure, if it failed."""
        event = self.find_finished()
        if event is None or event.message.get("result") == "ok":
            return None
        said = _line(event.message.get("message")) or "no reason given"
        screen = str(event.message.get("screen", ""))[: 64 << 10].splitlines()[:MAX_SCREEN_LINES]
        return BadNews(f"first boot failed: {said}", tuple(strip_controls(line.encode()) for line in screen))

    def _receive(self, message: Message) -> None:
        if len(self._events) < MAX_EVENTS:
            event = Event(self._seconds(), message)
            if self._result is not None and event.kind == "finished":
                with contextlib.suppress(OSError):  # the host's disk is full: the event itself matters more
                    write_file(self._result, json.dumps(message, indent=2, ensure_ascii=False) + "\n")
            self._events.append(event)  # after the file: who waits for the event may want to read it
            self._heard()
        self._notifier.notify()


def _line(value: Any) -> str:
    return strip_controls(str(value or "").encode(errors="replace")).strip()[:1000]
