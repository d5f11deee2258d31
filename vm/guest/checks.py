"""What a wait checks again and again: a unit's state, an answer over HTTP or of sshd. Each says what it saw last."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass, field

from builder.core.errors import VmError
from vm.guest.probe_client import Probe
from vm.waiting.deadline import Deadline
from vm.waiting.wait import is_hidden

__tracebackhide__ = is_hidden
UNIT_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result")
MAX_BODY = 1 << 20
PATIENCE_SECONDS = 5.0
# sshd starts a program for each connection before it says anything, and holds it against who goes away meanwhile.
BANNER_SECONDS = 60.0
# Each look starts a program in the guest, which may be busy starting others: most of the time is theirs.
REST = 4.0  # times what the last look took


@dataclass
class UnitCheck:
    """Looks whether a unit has reached a state (``active`` ...), now and then, however often it is called.

    Attributes:
        waiting: ends the wait; there is a last look after it.
        pause: seconds between two looks, at least.
    """

    probe: Probe
    name: str
    state: str
    waiting: Deadline
    deadline: Deadline
    pause: float
    _again: float = 0.0
    seen: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> dict[str, str] | None:
        """The unit's main properties once it is in the state.

        Raises:
            VmError: it failed (with its last journal lines), or there is no such unit.
        """
        begun = time.monotonic()
        if begun < self._again and not self.waiting.expired:
            return None
        self.seen = self.probe.show_unit(self.name, self.deadline, UNIT_PROPERTIES)
        ended = time.monotonic()
        self._again = ended + max(self.pause, REST * (ended - begun))
        if self.seen.get("ActiveState") == self.state:
            return self.seen
        if self.seen.get("LoadState") == "not-found":
            raise VmError(f"the machine has no unit {self.name}")
        if self.seen.get("ActiveState") == "failed":
            command = ("journalctl", "-b", "-n20", "-ocat", "--no-pager", "-u", self.name)
            journal = self.probe.run(command, self.deadline)
            raise VmError(f"{self.name} failed ({self.seen.get('Result')})", details=tuple(journal.stdout.splitlines()))
        return None

    def show_evidence(self) -> tuple[str, ...]:
        """What it saw last."""
        return (f"its last state was {self.seen.get('ActiveState')} ({self.seen.get('SubState')})",)


@dataclass
class HttpCheck:
    """Looks whether a port on 127.0.0.1 answers a GET with the expected status."""

    port: int
    path: str
    expect: int
    seen: str = "nothing answered"

    def __call__(self) -> str | None:
        """The body's first MiB, once the status is right."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            body = answer.read(MAX_BODY).decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.seen = f"the last attempt ended with {type(error).__name__}: {error}"
            return None
        finally:
            connection.close()
        self.seen = f"the last answer had status {answer.status}"
        return body if answer.status == self.expect else None

    def show_evidence(self) -> tuple[str, ...]:
        """What it saw last."""
        return (self.seen,)


@dataclass
class BannerCheck:
    """Looks whether an ssh server is behind a port on 127.0.0.1 (RFC 4253, 4.2)."""

    port: int
    seen: str = "nothing listens on the port"

    def __call__(self) -> str | None:
        """What it calls itself."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), BANNER_SECONDS) as line:
                line.settimeout(BANNER_SECONDS)
                banner = line.recv(255).decode("ascii", errors="replace")
        except OSError as error:
            self.seen = f"the last attempt ended with {type(error).__name__}: {error}"
            return None
        self.seen = f"what answers says {banner!r}"
        return banner.strip() if banner.startswith("SSH-") else None

    def show_evidence(self) -> tuple[str, ...]:
        """What it saw last."""
        return (self.seen,)
