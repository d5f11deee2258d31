"""A network of podman's by the name of ``overlay``, on the same bridge as the CNI plugins' one.

Podman has netavark in the place of CNI. Both give out addresses of the machine's subnet, so each has a half: the CNI
plugins the lower one (``/usr/lib/cni/flannel``), podman the upper one.
"""

from __future__ import annotations

import hashlib
import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

BRIDGE = "overlay0"
PROGRAM = Path("/usr/bin/podman")
NETWORKS = Path("/etc/containers/networks")


def has_podman() -> bool:
    """Whether the image has podman."""
    return PROGRAM.exists()


def split(subnet: IPv4Network) -> tuple[tuple[IPv4Address, IPv4Address], tuple[IPv4Address, IPv4Address]]:
    """First and last address for CNI plugins, and for podman."""
    lower, upper = subnet.subnets(prefixlen_diff=1)
    # The first is the network's, the second the bridge's, the last is broadcast.
    cni = (lower.network_address + 2, lower.broadcast_address)
    return cni, (upper.network_address, upper.broadcast_address - 1)


def format_network(subnet: IPv4Network, mtu: int) -> str:
    """The file of such a network, as podman-network(1) writes it."""
    _cni, (first, last) = split(subnet)
    document = {
        "name": "overlay",
        "id": hashlib.sha256(b"overlay").hexdigest(),
        "driver": "bridge",
        "network_interface": BRIDGE,
        "created": "1970-01-01T00:00:00Z",
        "subnets": [
            {
                "subnet": str(subnet),
                "gateway": str(subnet.network_address + 1),
                "lease_range": {"start_ip": str(first), "end_ip": str(last)},
            }
        ],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        # Its own masquerade would hide addresses from other machines of the overlay.
        "options": {"mtu": str(mtu), "mode": "unmanaged"},
        "ipam_options": {"driver": "host-local"},
    }
    return json.dumps(document, indent=2) + "\n"


def write_network(subnet: IPv4Network, mtu: int) -> None:
    """Write it, if it is not there as it should be."""
    NETWORKS.mkdir(parents=True, exist_ok=True)
    path = NETWORKS / "overlay.json"
    text = format_network(subnet, mtu)
    if not path.exists() or path.read_text() != text:
        beside = path.with_name(".overlay.json.new")
        beside.write_text(text)
        beside.replace(path)
