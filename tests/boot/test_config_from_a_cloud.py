"""A machine without a config of its own asks its cloud: the network comes up in the initrd, and goes again."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vm.machine import Machine

pytestmark = pytest.mark.boot

CONFIG = """\
variant: buildos
version: 1.0.0
hostname: from-the-cloud
"""


class Service(BaseHTTPRequestHandler):
    """CloudStack's: user data at the DHCP server, which is not ready at once."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = b"not yet" if len(self.asked) < 3 else CONFIG.encode()
        self.send_response(503 if len(self.asked) < 3 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def service() -> Iterator[list[str]]:
    """The service at 127.0.0.1 port 80, which QEMU shows to the guest as its DHCP server's."""
    asked: list[str] = []
    handler = type("Handler", (Service,), {"asked": asked})
    try:
        server = ThreadingHTTPServer(("127.0.0.1", 80), handler)
    except OSError as error:
        pytest.skip(f"nothing can be served at 127.0.0.1 port 80: {error.strerror}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()
    server.server_close()


def test_a_machine_gets_its_config_over_the_network(vm_factory: Any, service: list[str]) -> None:
    machine = vm_factory(
        boot="kernel", arguments="ignition.platform.id=cloudstack", restrict=False, memory=2048, seconds=400
    )
    machine.wait_firstboot()
    machine.wait_unit("multi-user.target")
    assert service == ["/latest/user-data"] * 3
    assert machine.read("/etc/hostname") == "from-the-cloud\n"
    assert '"platform": "cloudstack"' in machine.read("/run/firstboot/result.json")
    # The root's own networkd has the interface now, and nothing of the initrd's is left.
    assert "routable" in machine.succeed("networkctl", "--no-pager", "status")
    assert machine.unit("firstboot-network.service")["ActiveState"] == "inactive"
    check_that_metadata_is_for_root_only(machine)


def check_that_metadata_is_for_root_only(machine: Machine) -> None:
    """Neither a container nor another user reaches the service; that root is not stopped, the counters say."""
    url = "http://169.254.169.254/latest/user-data"
    machine.wait_unit("web.service")
    assert refused(machine) == 0
    inside = machine.fail("podman", "exec", "web", "/usr/bin/busybox", "wget", "-T", "20", "-O", "-", url)
    assert "refused" in inside.stderr
    assert refused(machine) == 1
    ask = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=20)"
    as_nobody = machine.fail("setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", ask)
    assert "Connection refused" in as_nobody.stderr
    assert refused(machine) == 2
    machine.run("python3", "-c", ask)
    assert refused(machine) == 2


def refused(machine: Machine) -> int:
    """How many packets to metadata services were refused."""
    rules = machine.succeed("nft", "list", "chain", "inet", "metadata_guard", "judge")
    return sum(int(count) for count in re.findall(r"counter packets (\d+)", rules))
