"""DigitalOcean: its metadata service, where every droplet has user data or something is wrong."""

from __future__ import annotations

from typing import Any

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata import find_items, find_text, find_texts, make_numbered
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, describe_document

_ADDRESSES = {
    "IPV4_PUBLIC": ("public", "ipv4"),
    "IPV6_PUBLIC": ("public", "ipv6"),
    "IPV4_ANCHOR": ("public", "anchor_ipv4"),
    "IPV4_PRIVATE": ("private", "ipv4"),
    "IPV6_PRIVATE": ("private", "ipv6"),
}


def _find_addresses(document: Any) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, (network, version) in _ADDRESSES.items():
        interfaces = find_items(document, f"interfaces.{network}")
        attributes |= make_numbered(name, [find_text(interface, f"{version}.ip_address") for interface in interfaces])
    return attributes


PLATFORM = Platform(
    firmware=(("sys_vendor", "DigitalOcean"),),
    config="user data of the metadata service",
    fetch_config=UserData(f"{LINK_LOCAL}/metadata/v1/user-data", is_required=True).fetch,
    needs_network=True,
    metadata=describe_document(
        f"{LINK_LOCAL}/metadata/v1.json",
        "the droplet's metadata",
        {"HOSTNAME": "hostname", "REGION": "region", "DROPLET_ID": "droplet_id"},
        find_more=_find_addresses,
        more=tuple(f"{name}_n" for name in _ADDRESSES),
        ssh_keys=lambda document: find_texts(document, "public_keys"),
    ),
)
