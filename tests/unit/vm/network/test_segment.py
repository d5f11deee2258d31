"""The network of a cluster: frames go where they belong, and machines get addresses and names."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm.network.segment import Segment, make_hardware_address
from vm.network.services import COOKIE, HARDWARE, OURSELVES, Services, compute_checksum

pytestmark = pytest.mark.unit

BROADCAST = b"\xff" * 6


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Segment() as made:
        yield made


@pytest.fixture
def card(segment: Segment) -> Iterator[Callable[[str], Card]]:
    with ExitStack() as stack:

        def plug(name: str) -> Card:
            made = Card(segment, name)
            stack.callback(made.cable.close)
            return made

        yield plug


class Card:
    """A machine's card: what QEMU would be at the end of the cable."""

    def __init__(self, segment: Segment, name: str) -> None:
        self.nic = segment.make_nic(name)
        self.mac = make_hardware_address(self.nic.mac)
        self.cable = segment.plug(self.nic)
        self.cable.settimeout(10)

    def send(self, target: bytes, data: bytes, kind: int = 0x88B5) -> None:
        self.cable.send(target + self.mac + kind.to_bytes(2) + data)

    def receive(self) -> bytes:
        return self.cable.recv(1 << 16)

    def hears_nothing(self) -> bool:
        """All that was to come has come when an answer to a question of ours has."""
        self.send(BROADCAST, arp(self.mac, OURSELVES.packed), 0x0806)
        return self.receive()[12:14] == b"\x08\x06"


def arp(sender: bytes, target: bytes) -> bytes:
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + bytes(4) + bytes(6) + target


def udp(source: str, port: int, target: str, target_port: int, data: bytes) -> bytes:
    body = struct.pack("!HHHH", port, target_port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + body


def payload(frame: bytes) -> bytes:
    assert compute_checksum(frame[14:34]) == 0  # the header's own, as its receiver checks it
    return frame[14 + 20 + 8 :]


def test_a_frame_goes_to_everybody_until_its_receiver_is_known(segment: Segment, card: Callable[[str], Card]) -> None:
    one, two, three = (card(name) for name in ("one", "two", "three"))
    one.send(BROADCAST, b"hello")
    assert [card.receive()[14:] for card in (two, three)] == [b"hello", b"hello"]
    two.send(one.mac, b"for one")
    assert one.receive()[14:] == b"for one"
    assert three.hears_nothing()


def test_a_card_that_is_plugged_in_again_is_reached_over_its_new_cable(
    segment: Segment, card: Callable[[str], Card]
) -> None:
    one, two = card("one"), card("two")
    two.send(BROADCAST, b"")
    one.receive()
    two.cable.close()
    again = card("two")
    assert (again.nic, again.nic.address) == (two.nic, two.nic.address)
    one.send(again.mac, b"still there")
    assert again.receive()[14:] == b"still there"


def test_our_address_is_told_and_echoes(segment: Segment, card: Callable[[str], Card]) -> None:
    mine = card("one")
    assert mine.hears_nothing()
    echo = bytes([8, 0]) + struct.pack("!HHH", 0, 7, 1) + b"data"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0)
    mine.send(HARDWARE, head + socket.inet_aton(mine.nic.address) + OURSELVES.packed + echo, 0x0800)
    answer = mine.receive()[34:]
    assert (answer[0], answer[4:], compute_checksum(answer)) == (0, echo[4:], 0)


@pytest.mark.parametrize(("asks", "gets"), [(1, 2), (3, 5)])
def test_a_machine_gets_its_address_its_name_and_who_knows_names(
    segment: Segment, card: Callable[[str], Card], asks: int, gets: int
) -> None:
    mine = card("web")
    head = struct.pack("!BBBB4sHH", 1, 1, 6, 0, b"abcd", 0, 0x8000) + bytes(16) + mine.mac + bytes(10 + 192)
    request = head + COOKIE + bytes([53, 1, asks, 0, 255])
    mine.send(BROADCAST, udp("0.0.0.0", 68, "255.255.255.255", 67, request), 0x0800)
    reply = payload(mine.receive())
    assert (reply[0], reply[4:8], socket.inet_ntoa(reply[16:20])) == (2, b"abcd", mine.nic.address)
    options = reply[240:]
    assert bytes([53, 1, gets]) in options
    assert bytes([6, 4]) + OURSELVES.packed in options
    assert bytes([12, 3]) + b"web" in options
    assert bytes([15, 12]) + b"cluster.test" in options


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        ("db.cluster.test", 1, 0, True),
        ("DB", 1, 0, True),
        ("db.cluster.test", 28, 0, False),
        ("nobody.cluster.test", 1, 3, False),
    ],
)
def test_a_machine_is_found_by_name(
    segment: Segment, card: Callable[[str], Card], name: str, kind: int, code: int, found: bool
) -> None:
    mine, other = card("web"), segment.make_nic("db")
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    query = b"id" + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + question + struct.pack("!HH", kind, 1)
    mine.send(HARDWARE, udp(mine.nic.address, 5353, str(OURSELVES), 53, query), 0x0800)
    answer = payload(mine.receive())
    assert answer[:2] == b"id"
    flags, questions, answers = struct.unpack_from("!HHH", answer, 2)
    assert (flags & 0x800F, questions, answers) == (0x8000 | code, 1, int(found))
    assert answer.endswith(socket.inet_aton(other.address)) == found


def test_names_keep_their_addresses_and_no_two_have_the_same(segment: Segment) -> None:
    nics = [segment.make_nic(f"node{number}") for number in range(20)]
    assert len({nic.address for nic in nics}) == len({nic.mac for nic in nics}) == 20
    assert segment.make_nic("node7") == nics[7]


@given(st.binary(max_size=400), st.sampled_from([0x0806, 0x0800]), st.booleans())
def test_no_frame_breaks_the_services(data: bytes, kind: int, to_us: bool) -> None:
    services = Services("cluster.test")
    services.join(b"\x52\x54\0\0\0\1", "web", 10)
    frame = (HARDWARE if to_us else BROADCAST) + b"\x52\x54\0\0\0\1" + kind.to_bytes(2) + data
    assert all(len(answer) >= 14 for answer in services.answer(frame))


def test_a_flood_does_not_stop_the_switch(segment: Segment, card: Callable[[str], Card]) -> None:
    one, two = card("one"), card("two")
    one.cable.setblocking(False)
    dice = random.Random(1)
    for _ in range(5000):
        try:
            one.send(BROADCAST, dice.randbytes(64))
        except BlockingIOError:
            continue
    two.cable.setblocking(False)
    try:
        while True:
            two.cable.recv(1 << 16)
    except BlockingIOError:
        two.cable.settimeout(10)
    one.cable.settimeout(10)
    one.send(BROADCAST, b"last")
    while two.receive()[14:] != b"last":
        pass
