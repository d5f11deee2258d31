"""The network and its leases as flannel writes them into etcd, and which subnet a machine takes.

Documentation: flannel's configuration.md and reservations.md. Below the prefix, ``config`` is the network as JSON, and
``subnets/10.5.34.0-24`` is a machine's lease of that subnet: its own address and how packets for the subnet reach it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

BACKEND = "vxlan"
OVERHEAD = 50  # bytes of a packet that VXLAN over IPv4 takes


class ConfigurationError(Exception):
    """What is in etcd or in the environment is not understood."""


@dataclass(frozen=True)
class Network:
    """The whole network: what each machine takes a subnet of.

    Attributes:
        length: of a subnet's prefix.
        first, last: the subnets between which the choice is made.
        vni, port: of VXLAN.
    """

    network: IPv4Network
    length: int
    first: IPv4Address
    last: IPv4Address
    vni: int = 1
    port: int = 8472

    def holds(self, subnet: IPv4Network) -> bool:
        """Whether a machine may have this subnet."""
        return subnet.prefixlen == self.length and self.first <= subnet.network_address <= self.last


@dataclass(frozen=True)
class Lease:
    """A machine's lease: what is routed to it, and how.

    Attributes:
        address: of the machine, where VXLAN packets are sent.
        hardware: address of the machine's VXLAN device.
    """

    subnet: IPv4Network
    address: IPv4Address
    hardware: str


def parse_network(text: str) -> Network:
    """The network of the key ``config``.

    Raises:
        ConfigurationError: it is not JSON, not a network of IPv4, or asks for a backend that only flanneld has.
    """
    try:
        document = json.loads(text)
        backend = document.get("Backend") or {}
        kind = backend.get("Type", BACKEND)
        if kind != BACKEND:
            raise ConfigurationError(
                f"Backend.Type is {kind!r}; only vxlan is built in, for others put flanneld in the image"
            )
        if document.get("EnableIPv6") or document.get("EnableIPv4") is False:
            raise ConfigurationError("EnableIPv6 is set; only IPv4 is built in, for IPv6 put flanneld in the image")
        if backend.get("DirectRouting") or backend.get("GBP"):
            raise ConfigurationError("Backend has DirectRouting or GBP, which only flanneld does; put it in the image")
        network = IPv4Network(document["Network"])
        length = int(document.get("SubnetLen") or (24 if network.prefixlen <= 22 else network.prefixlen + 2))
        if not network.prefixlen < length <= 30:
            raise ConfigurationError(f"SubnetLen is {length}, which is not longer than that of Network, or over 30")
        size = 1 << (32 - length)
        low = document.get("SubnetMin") or network.network_address + size
        high = document.get("SubnetMax") or network.broadcast_address - size + 1
        first, last = IPv4Address(low), IPv4Address(high)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the key 'config' is not a network: {error!r}: {text[:200]}") from error
    for name, address in (("SubnetMin", first), ("SubnetMax", last)):
        if address not in network or int(address) % size:
            raise ConfigurationError(f"{name} is {address}, which is not the beginning of a /{length} of {network}")
    return Network(network, length, first, last, int(backend.get("VNI") or 1), int(backend.get("Port") or 8472))


def make_key(subnet: IPv4Network) -> str:
    """The name of a lease below ``subnets/``."""
    return f"{subnet.network_address}-{subnet.prefixlen}"


def parse_key(key: str) -> IPv4Network | None:
    """The subnet that a key is about, whatever is before its last slash; None if that is no subnet of IPv4."""
    name = key.rpartition("/")[2]
    if not re.fullmatch(r"[0-9.]+-[0-9]+", name):
        return None  # leases of both kinds are "10.5.1.0-24&fd00::-64"
    try:
        return IPv4Network(name.replace("-", "/"))
    except ValueError:
        return None


def format_lease(lease: Lease, vni: int) -> str:
    """The value of a lease, as flannel writes it."""
    data = {"VNI": vni, "VtepMAC": lease.hardware}
    document = {"PublicIP": str(lease.address), "PublicIPv6": None, "BackendType": BACKEND, "BackendData": data}
    return json.dumps(document, separators=(",", ":"))


def parse_lease(key: str, value: str) -> Lease | None:
    """The lease of a key; None if it is not one that VXLAN over IPv4 can use."""
    subnet = parse_key(key)
    if subnet is None:
        return None
    try:
        document = json.loads(value)
        hardware = document["BackendData"]["VtepMAC"].lower()
        if document["BackendType"] != BACKEND or not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", hardware):
            return None
        return Lease(subnet, IPv4Address(document["PublicIP"]), hardware)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def choose_subnet(
    network: Network, taken: Collection[IPv4Network], wanted: IPv4Network | None, draw: int
) -> IPv4Network:
    """A subnet that nobody has: the one of last time if it can be, else one by a random number.

    Raises:
        ConfigurationError: all are taken.
    """
    if wanted is not None and network.holds(wanted) and wanted not in taken:
        return wanted
    size = 1 << (32 - network.length)
    count = (int(network.last) - int(network.first)) // size + 1
    for step in range(count):
        address = int(network.first) + (draw + step) % count * size
        subnet = IPv4Network((address, network.length))
        if subnet not in taken:
            return subnet
    raise ConfigurationError(f"all {count} subnets of {network.network} are leased")


def format_subnet_file(network: Network, subnet: IPv4Network, mtu: int, masquerade: bool) -> str:
    """``/run/flannel/subnet.env``, which CNI plugins and others read."""
    gateway = f"{subnet.network_address + 1}/{subnet.prefixlen}"
    words = {"NETWORK": network.network, "SUBNET": gateway, "MTU": mtu, "IPMASQ": str(masquerade).lower()}
    return "".join(f"FLANNEL_{name}={value}\n" for name, value in words.items())


def parse_subnet_file(text: str) -> dict[str, str]:
    """The values of such a file by name; lines that are none are left out."""
    pairs = (line.strip().partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value.strip('"') for name, _, value in pairs}


def find_last_subnet(values: Mapping[str, str]) -> IPv4Network | None:
    """The subnet of a subnet file."""
    try:
        return IPv4Network(values.get("FLANNEL_SUBNET", ""), strict=False)
    except ValueError:
        return None
