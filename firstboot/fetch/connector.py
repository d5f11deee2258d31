"""How a first boot connects to others, and the clock of it all.

It is passed as a value, so that a test can stand behind it: answer for an address that only a cloud has, or let a
minute last a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from firstboot.fetch.clock import Clock

if TYPE_CHECKING:
    import socket

Judge = Callable[[str], None]
"""Gets an IP address that is about to be connected to; raises FetchError to forbid it."""


class Connector:
    """Opens sockets.

    Attributes:
        clock: what all of fetching measures time with.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock

    def find_addresses(self, host: str, port: int, seconds: float, *, datagram: bool = False) -> list[tuple[int, Any]]:
        """The addresses of a host as (family, sockaddr), the best first (RFC 6724).

        Raises:
            Temporary: it cannot be resolved now, or not within ``seconds``.
        """
        addresses: list[tuple[int, Any]] = _import_sockets().find_addresses(self.clock, host, port, seconds, datagram)
        return addresses

    def connect_tcp(
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
        addresses = self.find_addresses(host, port, seconds)
        connection: socket.socket = _import_sockets().connect_tcp(
            self.clock, host, port, seconds, addresses, judge, source_ports
        )
        return connection

    def connect_vsock(self, cid: int, port: int, seconds: float, *, source_ports: Iterable[int] = ()) -> socket.socket:
        """A connection to the hypervisor, without a network (vsock(7)).

        Raises:
            Temporary: no connection.
        """
        connection: socket.socket = _import_sockets().connect_vsock(self.clock, cid, port, seconds, source_ports)
        return connection

    def open_udp(self, host: str, port: int, seconds: float) -> tuple[socket.socket, Any]:
        """A datagram socket and the address to send to.

        Raises:
            Temporary: the name cannot be resolved.
        """
        family, address = self.find_addresses(host, port, seconds, datagram=True)[0]
        return _import_sockets().open_udp(family), address


def _import_sockets() -> Any:
    """Imported by whoever connects: most first boots do not."""
    return import_module("firstboot.fetch.sockets")
