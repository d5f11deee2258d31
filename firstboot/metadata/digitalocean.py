"""DigitalOcean."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import parse_json, text, texts
from firstboot.places import Places
from firstboot.sources.service import LINK_LOCAL, Service

URL = f"{LINK_LOCAL}/metadata/v1.json"
_ADDRESSES = (
    ("public", "anchor_ipv4", "IPV4_ANCHOR"),
    ("public", "ipv4", "IPV4_PUBLIC"),
    ("public", "ipv6", "IPV6_PUBLIC"),
    ("private", "ipv4", "IPV4_PRIVATE"),
    ("private", "ipv6", "IPV6_PRIVATE"),
)


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = parse_json(Service(places, log).get(URL), "the droplet's metadata")
    attributes = {
        "DIGITALOCEAN_HOSTNAME": text(found, "hostname"),
        "DIGITALOCEAN_REGION": text(found, "region"),
        "DIGITALOCEAN_DROPLET_ID": text(found, "droplet_id"),
    }
    for network, version, name in _ADDRESSES:
        interfaces = found.get("interfaces")
        listed = interfaces.get(network) if isinstance(interfaces, dict) else None
        for number in range(len(listed) if isinstance(listed, list) else 0):
            attributes[f"DIGITALOCEAN_{name}_{number}"] = text(listed, number, version, "ip_address")
    return Metadata(attributes, text(found, "hostname"), tuple(texts(found, "public_keys")))
