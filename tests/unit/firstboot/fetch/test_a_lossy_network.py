"""A network that loses one packet in a hundred and is late by 15 ms: two network namespaces, and a link made here."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import heapq
import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from firstboot.fetch.connector import Connector
from firstboot.fetch.fetcher import Fetcher

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="this kernel has no tun devices"),
]

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, IFF_UP = 0x8914, 0x8916, 0x891C, 0x1
CLIENT, SERVER, MASK = "10.9.0.1", "10.9.0.2", "255.255.255.252"
LOSS, DELAY, JITTER = 0.01, 0.015, 0.005
BODY = random.Random(1).randbytes(2_000_000)


class Served(BaseHTTPRequestHandler):
    """The body."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class End:
    """A thread in a network of its own, whose only way out is a tun device (Documentation/networking/tuntap.rst)."""

    def __init__(self, address: str, work: Callable[[], Any]) -> None:
        self.tun, self.outcome = -1, None
        self._address, self._work = address, work
        self.ready, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.ready.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome

    def _run(self) -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                raise pytest.skip.Exception("no network namespace can be made here")
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"link", IFF_TUN | IFF_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                for request, value in ((SIOCSIFADDR, self._address), (SIOCSIFNETMASK, MASK)):
                    fcntl.ioctl(control, request, struct.pack("16sHH4s8x", b"link", 2, 0, socket.inet_aton(value)))
                fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"link", IFF_UP))
            self.ready.set()
            self.go.wait()
            self.outcome = self._work()
        except BaseException as error:
            self.outcome = error
        finally:
            self.ready.set()


class Link:
    """Carries packets between two ends; loses some, and lets all of them wait."""

    def __init__(self, one: End, other: End) -> None:
        self.lost = self.carried = 0
        self._to = {one.tun: other.tun, other.tun: one.tun}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        chance, waiting, number = random.Random(2), [], 0
        while not self._stop.is_set():
            due = max(waiting[0][0] - time.monotonic(), 0) if waiting else 0.05
            for source in select.select(list(self._to), [], [], due)[0]:
                packet = os.read(source, 65536)
                number += 1
                if chance.random() < LOSS:
                    self.lost += 1
                    continue
                late = time.monotonic() + DELAY + chance.uniform(-JITTER, JITTER)
                heapq.heappush(waiting, (late, number, self._to[source], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                self.carried += 1
                os.write(target, packet)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def test_a_lossy_network_only_takes_longer(resource: Callable[..., Any]) -> None:
    done = threading.Event()

    def serve() -> None:
        with ThreadingHTTPServer((SERVER, 80), Served) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            listening.set()
            done.wait()
            server.shutdown()

    def fetch() -> bytes:
        said: list[str] = []
        wanted = resource(f"http://{SERVER}/body", hash=f"sha256-{hashlib.sha256(BODY).hexdigest()}")
        return Fetcher(Connector(), "metal", said.append).fetch(wanted, limit=len(BODY))

    listening = threading.Event()
    server, client = End(SERVER, serve), End(CLIENT, fetch)
    link = Link(server, client)
    try:
        server.go.set()
        assert listening.wait(10)
        client.go.set()
        client.thread.join(120)
    finally:
        done.set()
        server.thread.join(10)
        link.close()
        os.close(server.tun)
        os.close(client.tun)
    assert client.outcome == BODY
    assert link.lost > 5
    print(f"{link.carried} packets carried, {link.lost} lost")
