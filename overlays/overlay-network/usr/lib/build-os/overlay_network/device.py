"""The VXLAN device and what it knows of other machines: as commands of ip(8), worked out first and run afterwards.

As flannel does it: nothing is learned from packets. For each lease there is a route to its subnet, a neighbour that
stands for the machine, and an entry of the forwarding database that says where the machine is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from subnets import OVERHEAD, Lease, Network

Command = tuple[str, ...]


class DeviceError(Exception):
    """A program that sets up the network failed."""


@dataclass(frozen=True)
class Uplink:
    """The interface over which the machines reach each other."""

    name: str
    address: str
    mtu: int


@dataclass(frozen=True)
class Device:
    """Our VXLAN device. ``hardware`` is its address, which its lease tells others."""

    name: str
    uplink: Uplink
    vni: int
    port: int
    hardware: str

    @property
    def mtu(self) -> int:
        """What a packet of a container may have."""
        return self.uplink.mtu - OVERHEAD

    def list_creation(self) -> list[Command]:
        """Commands that make it. Its address is given, because udev would choose another one later."""
        link = ("ip", "link", "add", self.name, "address", self.hardware, "mtu", str(self.mtu), "type", "vxlan")
        place = ("dev", self.uplink.name, "local", self.uplink.address)
        return [(*link, "id", str(self.vni), *place, "dstport", str(self.port), "nolearning")]

    def list_start(self, subnet: IPv4Network) -> list[Command]:
        """Commands that give it the machine's address in the overlay, and no other, and start it."""
        return [
            ("ip", "address", "flush", "dev", self.name, "scope", "global"),
            ("ip", "address", "add", f"{subnet.network_address}/32", "dev", self.name),
            ("ip", "link", "set", self.name, "up"),
        ]

    def list_addition(self, lease: Lease) -> list[Command]:
        """Commands after which packets for a lease's subnet go to its machine."""
        neighbour = str(lease.subnet.network_address)
        device = ("dev", self.name)
        return [
            ("ip", "neighbour", "replace", neighbour, "lladdr", lease.hardware, "nud", "permanent", *device),
            ("bridge", "fdb", "replace", lease.hardware, *device, "dst", str(lease.address), "self", "permanent"),
            ("ip", "route", "replace", str(lease.subnet), "via", neighbour, *device, "onlink"),
        ]

    def list_removal(self, lease: Lease) -> list[Command]:
        """Commands after which no packet goes there."""
        device = ("dev", self.name)
        return [
            ("ip", "route", "delete", str(lease.subnet), *device),
            ("bridge", "fdb", "delete", lease.hardware, *device, "dst", str(lease.address), "self"),
            ("ip", "neighbour", "delete", str(lease.subnet.network_address), *device),
        ]

    def is_like(self, link: dict[str, Any]) -> bool:
        """Whether a device that is there (``ip -details -json link``) can stay as it is."""
        data = link.get("linkinfo", {}).get("info_data", {})
        there = (data.get("id"), data.get("local"), data.get("port"), data.get("link"), link.get("mtu"))
        return there == (self.vni, self.uplink.address, self.port, self.uplink.name, self.mtu)


def list_bridge(name: str, subnet: IPv4Network, mtu: int) -> list[Command]:
    """Commands that give containers' bridge its address; making it is left out if it is there."""
    make: list[Command] = [] if ask("link", "show", "dev", name) else [("ip", "link", "add", name, "type", "bridge")]
    return [
        *make,
        ("ip", "address", "flush", "dev", name, "scope", "global"),
        ("ip", "address", "add", f"{subnet.network_address + 1}/{subnet.prefixlen}", "dev", name),
        ("ip", "link", "set", name, "mtu", str(mtu), "up"),
    ]


def list_changes(device: Device, before: Iterable[Lease], after: Iterable[Lease]) -> list[Command]:
    """Commands from the leases that are known to those that should be."""
    old, new = set(before), set(after)
    gone = [command for lease in sorted(old - new, key=str) for command in device.list_removal(lease)]
    return gone + [command for lease in sorted(new - old, key=str) for command in device.list_addition(lease)]


def make_masquerade(network: Network) -> str:
    """Rules for nft(8): what leaves the overlay has the machine's address, what stays in it keeps its own."""
    return f"""\
table ip overlay_network
delete table ip overlay_network
table ip overlay_network {{
	chain outgoing {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {network.network} ip daddr {network.network} return
		ip saddr {network.network} ip daddr != 224.0.0.0/4 masquerade fully-random
	}}
}}
"""


def run(commands: Iterable[Command], *, may_fail: bool = False) -> None:
    """Run them in order.

    Raises:
        DeviceError: one failed, unless it may.
    """
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and not may_fail:
            raise DeviceError(f"{' '.join(command)}: {done.stderr.strip()}")


def run_rules(rules: str) -> None:
    """Hand rules to nft.

    Raises:
        DeviceError: it refused them.
    """
    done = subprocess.run(("nft", "-f", "-"), input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeviceError(f"nft: {done.stderr.strip()}")


def ask(*command: str) -> list[dict[str, Any]]:
    """What a command of ip says as JSON; nothing if it fails."""
    done = subprocess.run(("ip", "-json", *command), capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    return [entry for entry in answer if entry]


def find_uplink(interface: str, address: str, peer: str) -> Uplink:
    """The interface that is named or has the address; else the one of the default route, or that leads to etcd.

    Raises:
        DeviceError: there is none, or it has no address.
    """
    if not interface and not address:
        routes = ask("-4", "route", "show", "default") or (ask("-4", "route", "get", peer) if peer else [])
        interface = next((str(route["dev"]) for route in routes if "dev" in route), "")
    for link in ask("-4", "address", "show"):
        for one in link.get("addr_info", ()):
            if one.get("scope") == "global" and (link.get("ifname") == interface or one.get("local") == address):
                return Uplink(str(link["ifname"]), address or str(one["local"]), int(link["mtu"]))
    raise DeviceError(
        f"no interface {interface or address or 'with a default route'} has an address of IPv4 (yet);"
        " FLANNELD_IFACE or FLANNELD_PUBLIC_IP names one"
    )


def make_device(network: Network, uplink: Uplink) -> Device:
    """The device, made if it is not there as it should be; one that stays keeps its address and what goes through it.

    Raises:
        DeviceError: ip failed.
    """
    name = f"flannel.{network.vni}"
    links = ask("-details", "link", "show", "dev", name)
    hardware = str(links[0]["address"]) if links else make_hardware_address(os.urandom(6))
    device = Device(name, uplink, network.vni, network.port, hardware)
    if links and not device.is_like(links[0]):
        run([("ip", "link", "delete", name)])
        links = []
    if not links:
        run(device.list_creation())
    return device


def make_hardware_address(drawn: bytes) -> str:
    """A locally administered address of six random bytes."""
    return ":".join(f"{byte:02x}" for byte in (drawn[0] & 0xFC | 0x02, *drawn[1:6]))


def forget_neighbours(device: Device) -> None:
    """Take away what an agent before us has set up, which may be out of date."""
    run(
        [
            ("ip", "route", "flush", "dev", device.name, "proto", "boot"),
            ("ip", "neighbour", "flush", "dev", device.name, "nud", "permanent"),
        ],
        may_fail=True,
    )
    for entry in ask_bridge(device):
        if "dst" in entry:
            command = (
                "bridge",
                "fdb",
                "delete",
                str(entry["mac"]),
                "dev",
                device.name,
                "dst",
                str(entry["dst"]),
                "self",
            )
            run([command], may_fail=True)


def ask_bridge(device: Device) -> list[dict[str, Any]]:
    """The forwarding database of the device."""
    command = ("bridge", "-json", "fdb", "show", "dev", device.name)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return list(json.loads(done.stdout or "[]")) if done.returncode == 0 else []


def parse_address(text: str) -> IPv4Address:
    """An address of ours.

    Raises:
        DeviceError: it is none of IPv4.
    """
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise DeviceError(f"FLANNELD_PUBLIC_IP is {text!r}, which is no address of IPv4") from error
