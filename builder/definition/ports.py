"""Published ports: ``[ADDRESS:]PORT:PORT[/PROTOCOL]``, as podman-run(1) takes them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from builder.definition.scalars import NotAccepted

_PUBLISH = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<host>[0-9]+):(?P<inside>[0-9]+)(?:/(?P<kind>\w+))?"
)


@dataclass(frozen=True)
class Publish:
    """A port of the machine that leads to a port of a container.

    Attributes:
        address: the machine's address to listen on; ``None`` is all of them.
        host: the machine's port.
        inside: the container's port.
        protocol: ``tcp`` or ``udp``.
    """

    host: int
    inside: int
    protocol: str = "tcp"
    address: str | None = None

    def __str__(self) -> str:
        where = "" if self.address is None else f"{self.address}:"
        return f"{where}{self.host}:{self.inside}/{self.protocol}"

    def has_conflict_with(self, other: Publish) -> bool:
        """Whether both cannot listen at the same time."""
        same_place = self.address == other.address or self.address is None or other.address is None
        return same_place and (self.host, self.protocol) == (other.host, other.protocol)


def parse_publish(text: str) -> Publish:
    """Read ``8080:80``, ``127.0.0.1:8080:80``, ``[::1]:53:53/udp``.

    Raises:
        NotAccepted: it is anything else.
    """
    match = _PUBLISH.fullmatch(text)
    if match is None:
        raise NotAccepted(
            "a published port is PORT:PORT, the machine's first", 'like "8080:80" or "127.0.0.1:5353:53/udp"'
        )
    for port in (match["host"], match["inside"]):
        if not 1 <= int(port) <= 65535:
            raise NotAccepted(f"{port} is no port; ports are 1 to 65535")
    protocol = match["kind"] or "tcp"
    if protocol not in ("tcp", "udp"):
        raise NotAccepted(f"'{protocol}' is no protocol for a port; it is tcp or udp")
    address = match["address"]
    if address is not None:
        try:
            ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            raise NotAccepted(f"{address} is no address of a machine") from None
    return Publish(int(match["host"]), int(match["inside"]), protocol, address)
