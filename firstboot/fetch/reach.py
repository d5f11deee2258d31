"""The guest's door to the outside: its clock and its sockets. Passed as a value, so that a test can stand
behind it: answer for an address that only a cloud has, or let a minute last a second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from firstboot.fetch.errors import FetchError, Temporary, TimeOver

if TYPE_CHECKING:
    import socket

FOREVER = float("inf")
Judge = Callable[[str], None]
"""Gets an IP address that is about to be connected to; raises FetchError to forbid it."""


class Clock:
    """Time in seconds. With ``speed`` 60 a minute lasts a second."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def now(self) -> float:
        """Seconds since some moment; only differences mean something."""
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(self.real(seconds))

    def real(self, seconds: float) -> float:
        """How long that is for the kernel."""
        return seconds / self.speed


class Deadline:
    """A moment by which something must be done; ``None`` seconds is never."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        self.seconds = FOREVER if seconds is None else seconds
        self._end = clock.now() + self.seconds

    def left(self) -> float:
        """Seconds until then, below zero afterwards."""
        return self._end - self._clock.now()


class Reach:
    """Opens sockets.

    Attributes:
        clock: what all of fetching measures time with.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock

    def addresses(self, host: str, port: int, seconds: float, *, datagram: bool = False) -> list[tuple[int, Any]]:
        """The addresses of a host as (family, sockaddr), the best first (RFC 6724).

        Raises:
            Temporary: it cannot be resolved now, or not within ``seconds``.
        """
        import queue  # noqa: PLC0415 - all of this only when something is fetched
        import socket  # noqa: PLC0415
        import threading  # noqa: PLC0415

        kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
        with contextlib.suppress(OSError, UnicodeError):  # an address needs nobody's answer, and so no time
            found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
            return [(each[0], each[4]) for each in found]
        # getaddrinfo(3) takes no time limit: whoever waits for it in a thread of its own can stop waiting.
        answers: queue.SimpleQueue[list[tuple[int, Any]] | OSError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put([(each[0], each[4]) for each in socket.getaddrinfo(host, port, type=kind)])
            except (OSError, UnicodeError) as error:
                answers.put(error if isinstance(error, OSError) else OSError(0, "not a host name"))

        threading.Thread(target=look_up, daemon=True).start()
        try:
            # None may be left by now: that is no time to wait, and no mistake.
            answer = answers.get(timeout=max(self.clock.real(seconds), 0))
        except queue.Empty:
            raise TimeOver(f"the name {host} is not resolved within {max(seconds, 0):.0f} s", _DNS_HINT) from None
        if isinstance(answer, OSError):
            raise Temporary(f"the name {host} cannot be resolved: {answer.strerror}", _DNS_HINT)
        return answer

    def tcp(
        self, host: str, port: int, seconds: float, *, judge: Judge | None = None, source_ports: Iterable[int] = ()
    ) -> socket.socket:
        """A TCP connection, to the first address that answers; ``seconds`` are shared between them.

        Args:
            judge: is asked about each address first.
            source_ports: local ports to try, in this order; any port if there are none.

        Raises:
            Temporary: no connection.
            FetchError: ``judge`` forbids an address, or no source port is free.
        """
        deadline = Deadline(self.clock, seconds)
        found = self.addresses(host, port, seconds)
        problem, failure = "no address", Temporary
        for index, (family, address) in enumerate(found):
            ip = str(address[0])
            if judge is not None:
                judge(ip)
            share = max(deadline.left() / (len(found) - index), 0.1)
            connection = _bound(family, source_ports)
            try:
                connection.settimeout(self.clock.real(share))
                connection.connect(address)
            except OSError as error:
                connection.close()
                reason = f"no answer within {share:.0f} s" if isinstance(error, TimeoutError) else error.strerror
                problem = f"{ip} port {port}: {reason}"
                failure = TimeOver if isinstance(error, TimeoutError) else Temporary
                continue
            return connection
        raise failure(f"no connection to {host}: {problem}")

    def vsock(self, cid: int, port: int, seconds: float, *, source_ports: Iterable[int] = ()) -> socket.socket:
        """A connection to the hypervisor, without a network (vsock(7)).

        Raises:
            Temporary: no connection.
        """
        import socket  # noqa: PLC0415

        connection = None
        try:
            connection = _bound(socket.AF_VSOCK, source_ports)
            connection.settimeout(self.clock.real(seconds))
            connection.connect((cid, port))
        except OSError as error:
            if connection is not None:
                connection.close()
            is_over = isinstance(error, TimeoutError)
            what = f"no connection to the hypervisor's vsock port {port}: {'no answer' if is_over else error.strerror}"
            raise (TimeOver if is_over else Temporary)(what) from None
        return connection

    def udp(self, host: str, port: int, seconds: float) -> tuple[socket.socket, Any]:
        """A datagram socket and the address to send to.

        Raises:
            Temporary: the name cannot be resolved.
        """
        import socket  # noqa: PLC0415

        family, address = self.addresses(host, port, seconds, datagram=True)[0]
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC), address


_DNS_HINT = "is the network up, and does it name a DNS server?"


def _bound(family: int, source_ports: Iterable[int]) -> socket.socket:
    """A stream socket with one of these local ports."""
    import socket  # noqa: PLC0415

    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    ports = tuple(source_ports)
    if not ports:
        return connection
    any_address: Any = socket.VMADDR_CID_ANY if family == socket.AF_VSOCK else ""
    for port in ports:
        try:
            connection.bind((any_address, port))
        except OSError:
            continue
        return connection
    connection.close()
    raise FetchError(f"none of the source ports {ports[0]} to {ports[-1]} is free")
