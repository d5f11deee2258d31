"""A config for Fedora CoreOS that asks for what only that system has: it boots, with the network it describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vm.machine import Machine

pytestmark = pytest.mark.boot

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc you@example.org"
# QEMU's own network is 10.0.2.0/24, with a gateway at .2 and a name server at .3.
CONFIG = f"""\
variant: fcos
version: 1.5.0
passwd:
  users:
    - name: core
      ssh_authorized_keys: ["{KEY}"]
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
systemd:
  units:
    - name: docker.service
      enabled: true
    - name: zincati.service
      mask: true
"""


def test_a_config_of_fedora_coreos_boots_with_the_network_of_its_keyfiles(vm_factory: Callable[..., Any]) -> None:
    vm: Machine = vm_factory(config=CONFIG, memory=1024, seconds=180)
    vm.succeed("/usr/lib/systemd/systemd-networkd-wait-online", "--interface=enp0s2:routable", "--timeout=60")
    assert "10.0.2.50/24" in vm.succeed("ip -o -4 addr show dev enp0s2")
    assert "10.0.2.15" not in vm.succeed("ip -o -4 addr show dev enp0s2")
    assert "203.0.113.0/24 via 10.0.2.2 proto static metric 7" in vm.succeed("ip route show dev enp0s2")
    assert "default via 10.0.2.2" in vm.succeed("ip route show dev enp0s2")
    assert "corner.test" in vm.succeed("resolvectl domain enp0s2")
    assert "vlan protocol 802.1Q id 10" in vm.succeed("ip -d link show tagged")
    assert "198.51.100.2/24" in vm.succeed("ip -o -4 addr show dev tagged")
