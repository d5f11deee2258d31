"""A network of virtual machines on one host, without privilege: a switch, a DHCP server and a name server, all ours.

Each machine's card is one end of a pair of datagram sockets (QEMU's ``-netdev dgram``); we hold the other ends and pass
Ethernet frames on, as a switch does that learns where addresses are. Nothing leaves the segment.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vm.network.services import Services

FRAME = 1 << 16  # longer than any frame that a card with segmentation offload hands over


@dataclass(frozen=True)
class Nic:
    """A machine's place on a segment: ``mac`` as text, ``name`` for DNS and DHCP."""

    name: str
    mac: str
    address: str


def make_hardware_address(mac: str) -> bytes:
    """An address as it is in frames."""
    return bytes.fromhex(mac.replace(":", ""))


class Segment:
    """The network. Used as a block: at its end, the switch stops and every cable is pulled.

    Args:
        domain: names are below it; DHCP tells it as the search domain.
    """

    def __init__(self, domain: str = "cluster.test") -> None:
        self.domain = domain
        self._services = Services(domain)
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._ports: dict[str, socket.socket] = {}  # by the card's own address
        self._seen: dict[bytes, socket.socket] = {}  # addresses behind a port, the card's own and others (containers)
        self._nics: dict[str, Nic] = {}
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._switch, name="segment", daemon=True)
        self._stopping = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        self._waker.send(b"x")
        self._thread.join()
        for sock in (*self._ports.values(), self._wake, self._waker):
            sock.close()
        self._selector.close()

    def make_nic(self, name: str) -> Nic:
        """A machine's place, with an address that it keeps: the same for the same name."""
        if name not in self._nics:
            number = len(self._nics) + 10
            # Locally administered, and the same in every run.
            mac = f"52:54:00:77:00:{number:02x}"
            address = self._services.join(make_hardware_address(mac), name, number)
            self._nics[name] = Nic(name, mac, str(address))
        return self._nics[name]

    def plug(self, nic: Nic) -> socket.socket:
        """The end of a new cable, for QEMU; the one that this card had is pulled."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with self._lock:
            old = self._ports.pop(nic.mac, None)
            if old is not None:
                self._forget(old)
            self._ports[nic.mac] = ours
        self._selector.register(ours, selectors.EVENT_READ)
        self._waker.send(b"x")
        return theirs

    def _forget(self, sock: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        self._seen = {address: port for address, port in self._seen.items() if port is not sock}
        sock.close()

    def _switch(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._wake:
                    sock.recv(64)
                    continue
                with self._lock:
                    self._read(sock)

    def _read(self, sock: socket.socket) -> None:
        """Take what a card sent, as long as there is something, but not for ever: others wait."""
        for _ in range(64):
            try:
                frame = sock.recv(FRAME)
            except BlockingIOError:
                return
            except OSError:
                self._forget(sock)
                return
            if len(frame) >= 14:
                self._pass_on(frame, sock)

    def _pass_on(self, frame: bytes, source: socket.socket) -> None:
        target, sender = frame[:6], frame[6:12]
        self._seen[sender] = source
        for answer in self._services.answer(frame):
            self._send(source, answer)
        known = self._seen.get(target)
        if known is not None and not target[0] & 1:
            if known is not source:
                self._send(known, frame)
            return
        for port in self._ports.values():
            if port is not source:
                self._send(port, frame)

    @staticmethod
    def _send(sock: socket.socket, frame: bytes) -> None:
        # A full buffer loses the frame, as a switch does.
        with suppress(OSError):
            sock.send(frame)
