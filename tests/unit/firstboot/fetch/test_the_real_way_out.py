"""Sockets as a machine opens them, in a network of their own where the addresses of clouds are really there."""

from __future__ import annotations

import ctypes
import fcntl
import io
import os
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from firstboot.fetch.clock import Clock
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import FetchError
from firstboot.fetch.fetcher import Fetcher
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched
from firstboot.sources.user_config import fetch_from_platform

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a network namespace of its own"),
]

CLONE_NEWNET = 0x40000000
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1


def in_own_network(addresses: list[str], work: Callable[[], Any]) -> Any:
    """Do something in a thread whose network has nothing but these addresses (network_namespaces(7))."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                outcome.append(pytest.skip.Exception("no network namespace can be made here"))
                return
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
                for number, address in enumerate(addresses, start=1):
                    name = f"lo:{number}".encode()
                    request = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
                    fcntl.ioctl(control, SIOCSIFADDR, request)
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class Service(BaseHTTPRequestHandler):
    """Answers everything with where it was asked from."""

    def do_GET(self) -> None:
        body = f"{self.path} {'root' if self.client_address[1] < 1024 else 'anybody'}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.mark.parametrize(
    ("platform", "address", "answer"),
    [
        ("hetzner", "169.254.169.254", b"/hetzner/v1/userdata anybody"),
        ("gcp", "169.254.169.254", b"/computeMetadata/v1/instance/attributes/user-data anybody"),
        ("aws", "169.254.169.254", b"/2019-10-01/user-data anybody"),
        ("aliyun", "100.100.100.200", b"/latest/user-data anybody"),
        ("scaleway", "169.254.42.42", b"/user_data/cloud-init root"),
    ],
)
def test_a_service_is_asked_at_its_own_address(
    tree: Path, programs: Any, platform: str, address: str, answer: bytes
) -> None:
    def ask() -> Fetched | None:
        with ThreadingHTTPServer((address, 80), Service) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            try:
                return fetch_from_platform(platform, Places(tree, programs), Log(io.StringIO(), priorities=False))
            finally:
                server.shutdown()

    found = in_own_network([address], ask)
    assert found is not None
    assert found.data == answer


@pytest.mark.parametrize("platform", ["hetzner", "scaleway"])
def test_without_a_route_it_ends_with_a_reason(tree: Path, programs: Any, platform: str) -> None:
    places = Places(tree, programs, Connector(Clock(500)))

    def ask() -> Fetched | None:
        return fetch_from_platform(platform, places, Log(io.StringIO(), priorities=False))

    with pytest.raises(FetchError, match=r"given up after 120 s: no connection to 169.*: Network is unreachable"):
        in_own_network([], ask)


class OverSix(ThreadingHTTPServer):
    """A server that has only an IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


def test_a_network_without_ipv4_is_enough(resource: Callable[..., Any]) -> None:
    def ask() -> bytes:
        try:
            server = OverSix(("::1", 0), Service)
        except OSError as error:
            raise pytest.skip.Exception(f"this kernel has no IPv6: {error.strerror}") from None
        with server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            try:
                fetcher = Fetcher(Connector(), "metal", lambda _: None)
                return fetcher.fetch(resource(f"http://[::1]:{server.server_address[1]}/config"))
            finally:
                server.shutdown()

    assert in_own_network([], ask) == b"/config anybody"


def test_a_name_cannot_be_resolved_without_a_network() -> None:
    def look_up() -> Any:
        return Connector().find_addresses("server.example.org", 80, 20)

    with pytest.raises(FetchError, match=r"the name server.example.org (cannot be|is not) resolved"):
        in_own_network([], look_up)
