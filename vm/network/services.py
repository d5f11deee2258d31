"""What a segment offers besides passing frames on: addresses (DHCP, RFC 2131), names (DNS, RFC 1035), echoes.

Pure functions of a frame: no socket of the host is opened.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from vm.network.dns import answer_query

NETWORK = IPv4Network("10.77.0.0/24")
OURSELVES = IPv4Address("10.77.0.1")
HARDWARE = bytes.fromhex("525400770001")
ARP, IPV4 = 0x0806, 0x0800
ICMP, UDP = 1, 17
DNS_PORT, DHCP_SERVER, DHCP_CLIENT = 53, 67, 68
LEASE_SECONDS = 86400
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
COOKIE = b"\x63\x82\x53\x63"


class Services:
    """A router's everyday duties.

    Args:
        domain: of the names.
    """

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._clients: dict[bytes, tuple[str, IPv4Address]] = {}

    def join(self, hardware: bytes, name: str, number: int) -> IPv4Address:
        """From now on, this card has this name, and the address with this number, which is returned."""
        self._clients[hardware] = (name, NETWORK[number])
        return NETWORK[number]

    def answer(self, frame: bytes) -> Iterator[bytes]:
        """Frames to send back to where ``frame`` came from; none for what is not meant for us or makes no sense."""
        kind = int.from_bytes(frame[12:14])
        try:
            if kind == ARP:
                answer = self._arp(frame)
            elif kind == IPV4 and frame[:6] in (HARDWARE, b"\xff" * 6):
                answer = self._ipv4(frame)
            else:
                return
        except (struct.error, IndexError, ValueError):
            return
        if answer is not None:
            yield answer

    def _arp(self, frame: bytes) -> bytes | None:
        operation, sender, address, target = struct.unpack_from("!H6s4s6x4s", frame, 20)
        if (operation, target) != (1, OURSELVES.packed):
            return None
        reply = struct.pack("!HHBBH", 1, IPV4, 6, 4, 2)
        return b"".join((frame[6:12], HARDWARE, ARP.to_bytes(2), reply, HARDWARE, OURSELVES.packed, sender, address))

    def _ipv4(self, frame: bytes) -> bytes | None:
        packet = frame[14:]
        length = (packet[0] & 0x0F) * 4
        protocol, source, target = packet[9], packet[12:16], packet[16:20]
        body = packet[length : int.from_bytes(packet[2:4])]
        if protocol == ICMP and target == OURSELVES.packed and body[0] == 8:
            reply = bytes([0, 0, 0, 0]) + body[4:]
            reply = reply[:2] + compute_checksum(reply).to_bytes(2) + reply[4:]
            return _frame(frame[6:12], _packet(ICMP, OURSELVES.packed, source, reply))
        if protocol != UDP:
            return None
        source_port, target_port = struct.unpack_from("!HH", body)
        if target_port == DHCP_SERVER:
            return self._dhcp(frame[6:12], body[8:])
        if target_port == DNS_PORT and target == OURSELVES.packed:
            answer = answer_query(body[8:], self._address)
            return _frame(frame[6:12], _udp(OURSELVES.packed, DNS_PORT, source, source_port, answer))
        return None

    def _dhcp(self, sender: bytes, request: bytes) -> bytes | None:
        if request[0] != 1 or request[236:240] != COOKIE:
            return None
        options = dict(_options(request[240:]))
        client = self._clients.get(request[28:34])
        reply = {DISCOVER: OFFER, REQUEST: ACK}.get(options.get(53, b"\0")[0])
        if client is None or reply is None:
            return None
        name, address = client
        fields = {
            53: bytes([reply]),
            54: OURSELVES.packed,
            51: LEASE_SECONDS.to_bytes(4),
            1: NETWORK.netmask.packed,
            6: OURSELVES.packed,
            12: name.encode(),
            15: self._domain.encode(),
        }
        head = struct.pack("!BBBB4sHH", 2, 1, 6, 0, request[4:8], 0, int.from_bytes(request[10:12]))
        addresses = request[12:16] + address.packed + OURSELVES.packed + bytes(4)
        tail = b"".join(bytes([code, len(value)]) + value for code, value in fields.items()) + b"\xff"
        message = head + addresses + request[28:44] + bytes(192) + COOKIE + tail
        datagram = _udp(OURSELVES.packed, DHCP_SERVER, b"\xff" * 4, DHCP_CLIENT, message)
        return _frame(sender, datagram)

    def _address(self, name: str) -> IPv4Address | None:
        short = name.removesuffix(f".{self._domain}")
        return next((address for known, address in self._clients.values() if known == short), None)


def compute_checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    even = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Options of DHCP (RFC 2132)."""
    place = 0
    while place < len(data) and data[place] != 255:
        if data[place] == 0:
            place += 1
            continue
        size = data[place + 1]
        yield data[place], data[place + 2 : place + 2 + size]
        place += 2 + size


def _udp(source: bytes, source_port: int, target: bytes, target_port: int, data: bytes) -> bytes:
    # A checksum of zero means "none" (RFC 768); the frame never leaves memory.
    head = struct.pack("!HHHH", source_port, target_port, 8 + len(data), 0)
    return _packet(UDP, source, target, head + data)


def _packet(protocol: int, source: bytes, target: bytes, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source, target)
    return head[:10] + compute_checksum(head).to_bytes(2) + head[12:] + body


def _frame(target: bytes, packet: bytes) -> bytes:
    return target + HARDWARE + IPV4.to_bytes(2) + packet
