"""A config that is elsewhere: fetched over HTTPS from an authority that the machine is told of, by a hash.

It is one for Fedora CoreOS that asks for what only that system has, and the machine has the network it describes.

The machine's clock says 1970, as that of a computer without a battery does; certificates are judged all the same.
"""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.machines import WITHOUT_CONTAINER
from vm.fakes import Fakes

if TYPE_CHECKING:
    from vm.machine import Machine
    from vm.pytest_plugin import VmFactory

pytestmark = pytest.mark.boot

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc you@example.org"
# QEMU's own network is 10.0.2.0/24, with a gateway at .2 and a name server at .3.
FCOS = f"""\
variant: fcos
version: 1.5.0
passwd:
  users:
    - name: core
      ssh_authorized_keys: ["{KEY}"]
systemd:
  units:
    - name: docker.service
      enabled: true
    - name: zincati.service
      mask: true
storage:
  files:
    - path: /etc/NetworkManager/system-connections/uplink.nmconnection
      mode: 0600
      contents:
        inline: |
          [connection]
          id=uplink
          type=ethernet
          interface-name=enp0s2
          zone=public
          [ipv4]
          method=manual
          address1=10.0.2.50/24,10.0.2.2
          dns=10.0.2.3;
          dns-search=corner.test;
          route1=203.0.113.0/24,10.0.2.2,7
          [ipv6]
          method=disabled
    - path: /etc/NetworkManager/system-connections/tagged.nmconnection
      mode: 0600
      contents:
        inline: |
          [connection]
          id=tagged
          type=vlan
          interface-name=tagged
          [vlan]
          id=10
          parent=enp0s2
          [ipv4]
          method=manual
          address1=198.51.100.2/24
"""
CONTENT = b"from far away\n" * 10_000


def indented(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line for line in text.splitlines(keepends=True))


def test_a_config_is_merged_from_a_server_that_is_trusted_by_its_authority(vm_factory: VmFactory, fakes: Fakes) -> None:
    web = fakes.web(tls=True)
    web.put("/large", gzip.compress(CONTENT))
    remote = f"""{FCOS}\
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
        config=config,
        boot="kernel",
        arguments=WITHOUT_CONTAINER,
        restrict=False,
        memory=1024,
        seconds=400,
        rtc=datetime(1970, 1, 1, tzinfo=UTC),
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
    require_network(machine)


def require_network(machine: Machine) -> None:
    """What the keyfiles of NetworkManager say."""
    machine.succeed("/usr/lib/systemd/systemd-networkd-wait-online", "--interface=enp0s2:routable", "--timeout=60")
    assert "10.0.2.50/24" in machine.succeed("ip -o -4 addr show dev enp0s2")
    assert "10.0.2.15" not in machine.succeed("ip -o -4 addr show dev enp0s2")
    assert "203.0.113.0/24 via 10.0.2.2 proto static metric 7" in machine.succeed("ip route show dev enp0s2")
    assert "default via 10.0.2.2" in machine.succeed("ip route show dev enp0s2")
    assert "corner.test" in machine.succeed("resolvectl domain enp0s2")
    assert "vlan protocol 802.1Q id 10" in machine.succeed("ip -d link show tagged")
    assert "198.51.100.2/24" in machine.succeed("ip -o -4 addr show dev tagged")
