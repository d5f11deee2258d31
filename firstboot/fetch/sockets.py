"""Sockets: names resolved, connections made, each within a time. See :class:`firstboot.fetch.connector.Connector`."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from firstboot.fetch.clock import Clock, Deadline
from firstboot.fetch.errors import FetchError, Temporary, TimedOut

_DNS_HINT = "is the network up, and does it name a DNS server?"


def find_addresses(clock: Clock, host: str, port: int, seconds: float, datagram: bool) -> list[tuple[int, Any]]:
    """The addresses of a host as (family, sockaddr).

    Raises:
        Temporary
    """
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    with contextlib.suppress(OSError, UnicodeError):  # an address needs nobody's answer, and so no time
        addresses = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
        return [(address[0], address[4]) for address in addresses]
    # getaddrinfo(3) takes no time limit: whoever waits for it in a thread of its own can stop waiting.
    answers: queue.SimpleQueue[list[tuple[int, Any]] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put([(address[0], address[4]) for address in socket.getaddrinfo(host, port, type=kind)])
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(0, "not a host name"))

    threading.Thread(target=look_up, daemon=True).start()
    try:
        # None may be left by now: that is no time to wait, and no mistake.
        answer = answers.get(timeout=max(clock.convert_to_real(seconds), 0))
    except queue.Empty:
        raise TimedOut(f"the name {host} is not resolved within {max(seconds, 0):.0f} s", _DNS_HINT) from None
    if isinstance(answer, OSError):
        raise Temporary(f"the name {host} cannot be resolved: {answer.strerror}", _DNS_HINT)
    return answer


def connect_tcp(
    clock: Clock,
    host: str,
    port: int,
    seconds: float,
    addresses: list[tuple[int, Any]],
    judge: Callable[[str], None] | None,
    source_ports: Iterable[int],
) -> socket.socket:
    """A TCP connection to the first of the addresses that answers.

    Raises:
        Temporary, FetchError
    """
    deadline = Deadline(clock, seconds)
    problem, failure = "no address", Temporary
    for index, (family, address) in enumerate(addresses):
        ip = str(address[0])
        if judge is not None:
            judge(ip)
        share = max(deadline.left / (len(addresses) - index), 0.1)
        connection = open_stream(family, source_ports)
        try:
            connection.settimeout(clock.convert_to_real(share))
            connection.connect(address)
        except OSError as error:
            connection.close()
            reason = f"no answer within {share:.0f} s" if isinstance(error, TimeoutError) else error.strerror
            problem = f"{ip} port {port}: {reason}"
            failure = TimedOut if isinstance(error, TimeoutError) else Temporary
            continue
        return connection
    raise failure(f"no connection to {host}: {problem}")


def connect_vsock(clock: Clock, cid: int, port: int, seconds: float, source_ports: Iterable[int]) -> socket.socket:
    """A connection to the hypervisor (vsock(7)).

    Raises:
        Temporary
    """
    connection = None
    try:
        connection = open_stream(socket.AF_VSOCK, source_ports)
        connection.settimeout(clock.convert_to_real(seconds))
        connection.connect((cid, port))
    except OSError as error:
        if connection is not None:
            connection.close()
        is_over = isinstance(error, TimeoutError)
        what = f"no connection to the hypervisor's vsock port {port}: {'no answer' if is_over else error.strerror}"
        raise (TimedOut if is_over else Temporary)(what) from None
    return connection


def open_udp(family: int) -> socket.socket:
    """A datagram socket."""
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def open_stream(family: int, source_ports: Iterable[int]) -> socket.socket:
    """A stream socket with one of these local ports."""
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
