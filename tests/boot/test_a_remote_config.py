"""A config that is elsewhere: fetched over HTTPS from an authority that the machine is told of, by a hash.

The machine's clock says 1970, as that of a computer without a battery does; certificates are judged all the same.
"""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from vm.fakes import Fakes

if TYPE_CHECKING:
    from vm.pytest_plugin import VmFactory

pytestmark = pytest.mark.boot

CONTENT = b"from far away\n" * 10_000


def indented(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line for line in text.splitlines(keepends=True))


def test_a_config_is_merged_from_a_server_that_is_trusted_by_its_authority(vm_factory: VmFactory, fakes: Fakes) -> None:
    web = fakes.web(tls=True)
    web.put("/large", gzip.compress(CONTENT))
    remote = f"""\
variant: fcos
version: 1.5.0
storage:
  files:
    - path: /etc/hostname
      overwrite: true
      contents: {{inline: "remote"}}
    - path: /var/large
      contents:
        source: {web.url("/large", fakes.HOST)}
        compression: gzip
        verification: {{hash: sha256-{hashlib.sha256(CONTENT).hexdigest()}}}
"""
    web.put("/config", remote.encode())
    config = f"""\
variant: buildos
version: 1.0.0
timezone: Europe/Berlin
ignition:
  config:
    merge:
      - source: {web.url("/config", fakes.HOST)}
        http_headers: [{{name: X-Token, value: r8ewap}}]
        verification: {{hash: sha512-{hashlib.sha512(remote.encode()).hexdigest()}}}
  security:
    tls:
      certificate_authorities:
        - inline: |
{indented(fakes.authority.pem, 12)}"""
    machine = vm_factory(
        config=config, boot="kernel", restrict=False, memory=2048, seconds=400, rtc=datetime(1970, 1, 1, tzinfo=UTC)
    )
    machine.wait_firstboot()
    machine.wait_unit("multi-user.target")
    asked = [(request.path, request.headers.get("x-token", "")) for request in web.requests]
    assert asked == [("/config", "r8ewap"), ("/large", "")]
    assert machine.read("/etc/hostname") == "remote"
    assert machine.succeed("date +%Z") in ("CET", "CEST")
    assert machine.read("/var/large").encode() == CONTENT
    assert machine.succeed("find /run/state/firstboot -name fetched-*") == ""
    # Never before the day on which the image's systemd was made, whatever the hardware says.
    assert int(machine.succeed("date --utc +%Y")) >= 2025
    assert "r8ewap" not in machine.read("/run/firstboot/result.json")
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""
