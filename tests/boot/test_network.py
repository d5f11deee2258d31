"""The words of ``network:`` on a machine: a bond of two cards, a VLAN on it, fixed addresses and a name server.

The machine is the demo, woken up; its further cards, and what they lead to, are in a network namespace of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.machine import Machine

DEMO = Path(__file__).parents[2] / "configs" / "machines" / "demo.yaml"
pytestmark = [pytest.mark.boot, pytest.mark.vm(config=DEMO, memory=1024, seconds=120)]

CONFIG = """\
variant: buildos
version: 1.0.0
network:
  interfaces:
    - name: team
      bond: {mode: active-backup, members: [card1, card2]}
      addresses: [192.0.2.2/24]
      routes: [{to: 203.0.113.0/24, via: 192.0.2.1}]
      dns: [192.0.2.1]
      domains: [corner.test]
    - name: tagged
      vlan: {id: 10, parent: team}
      addresses: [198.51.100.2/24]
"""
# A switch that both cards are plugged in to, with a host behind it that is in the VLAN as well.
FAR = """\
set -e
ip netns add far
ip -n far link add hub type bridge
for card in card1 card2; do
    ip link add $card type veth peer name far-$card netns far
    ip -n far link set far-$card master hub up
done
ip -n far address add 192.0.2.1/24 dev hub
ip -n far address add 203.0.113.1/32 dev hub
ip -n far link add link hub name in-vlan type vlan id 10
ip -n far address add 198.51.100.1/24 dev in-vlan
ip -n far link set hub up
ip -n far link set in-vlan up
systemd-run --quiet --unit=names --property=Type=notify --property=NetworkNamespacePath=/run/netns/far \\
    python3 -c "$1"
"""
# Any name that ends so has the address 192.0.2.7, and whoever asks is told.
NAMES = r"""
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    query, who = server.recvfrom(4096)
    end = query.index(0, 12) + 5
    known = query[12:end].lower() == b"\x02db\x06corner\x04test\0\0\x01\0\x01"
    answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + bytes([192, 0, 2, 7]) if known else b""
    counts = bytes([0, 1, 0, bool(known), 0, 0, 0, 0])
    server.sendto(query[:2] + (b"\x81\x80" if known else b"\x81\x83") + counts + query[12:end] + answer, who)
"""
# Whether the name server answers at an address, if it is asked with a patience of some seconds.
ASK = r"""
import socket, sys
query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x02db\x06corner\x04test\0\0\x01\0\x01"
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(float(sys.argv[2]))
asker.sendto(query, (sys.argv[1], 53))
sys.exit(asker.recv(4096)[-4:] != bytes([192, 0, 2, 7]))
"""
ONLINE = (
    "/usr/lib/systemd/systemd-networkd-wait-online --timeout=0 --interface=team:routable --interface=tagged:routable"
)
LONG, SHORT = "120", "2"


def ask(vm: Machine, address: str, patience: str = LONG) -> int:
    return vm.run("python3", "-c", ASK, address, patience).status


def test_a_bond_a_vlan_fixed_addresses_and_a_name_server(vm: Machine) -> None:
    vm.succeed("/bin/sh", "-c", FAR, "far", NAMES)
    vm.write("/run/network.yaml", CONFIG)
    vm.succeed("firstboot apply --apply /run/network.yaml")
    vm.succeed("networkctl reload")
    vm.succeed(*ONLINE.split())

    assert "192.0.2.2/24" in vm.succeed("ip -o -4 address show dev team")
    assert "198.51.100.2/24" in vm.succeed("ip -o -4 address show dev tagged")
    assert "203.0.113.0/24 via 192.0.2.1" in vm.succeed("ip route show dev team")
    assert ask(vm, "192.0.2.1") == ask(vm, "203.0.113.1") == ask(vm, "198.51.100.1") == 0
    assert vm.succeed("getent ahostsv4 db").split()[0] == "192.0.2.7"  # by the bond's own domain and name server

    # The bond goes on with the other card when a cable is out; the VLAN on it does not notice either.
    slaves = set(vm.read("/sys/class/net/team/bonding/slaves").split())
    active = vm.read("/sys/class/net/team/bonding/active_slave").strip()
    assert slaves == {"card1", "card2"}
    vm.succeed(f"ip -n far link set far-{active} down")
    [other] = slaves - {active}
    vm.succeed("/bin/sh", "-c", f"until grep -qx {other} /sys/class/net/team/bonding/active_slave; do sleep .2; done")
    assert ask(vm, "198.51.100.1") == 0

    # With another number it is another network, and nobody answers.
    vm.succeed("ip -n far link delete in-vlan")
    assert ask(vm, "198.51.100.1", SHORT) != 0
    assert ask(vm, "192.0.2.1") == 0
