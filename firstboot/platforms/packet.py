"""Equinix Metal, formerly Packet: its metadata service, which does not answer Ignition's usual Accept."""

from __future__ import annotations

import json
from typing import Any

from firstboot.fetch.errors import FetchError
from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata import find_items, find_text, find_texts, make_numbered, parse_json
from firstboot.platforms.shared.metadata_service import Service, UserData, describe_document

_SITE = "https://metadata.packet.net"
_HEADERS = {"Accept": "*/*"}
_WHAT = "the machine's metadata"
_BOOTED = {"state": "succeeded", "code": 1042, "message": "boot check-in"}
_ADDRESSES = {
    "IPV4_PUBLIC": ("4", True),
    "IPV4_PRIVATE": ("4", False),
    "IPV6_PUBLIC": ("6", True),
    "IPV6_PRIVATE": ("6", False),
}


def _find_addresses(document: Any) -> dict[str, str]:
    attributes: dict[str, str] = {}
    addresses = find_items(document, "network.addresses")
    for name, (family, is_public) in _ADDRESSES.items():
        fitting = [
            address
            for address in addresses
            if find_text(address, "address_family") == family and (find_text(address, "public") == "True") is is_public
        ]
        attributes |= make_numbered(name, [find_text(address, "address") for address in fitting])
        attributes |= make_numbered(f"{name}_GATEWAY", [find_text(address, "gateway") for address in fitting])
    return attributes


def _check_in(places: Places, log: Log) -> None:
    """Tell Equinix that the machine is up: at the URL that its metadata names."""
    service = Service(places, log)
    document = parse_json(service.get(f"{_SITE}/metadata", _HEADERS), _WHAT)
    url = find_text(document, "phone_home_url").removesuffix("/phone-home")
    if not url:
        raise FetchError(f"{_WHAT} has no phone_home_url")
    headers = {"Content-Type": "application/json"}
    service.send(Request(f"{url}/events", headers, "POST", json.dumps(_BOOTED).encode()))


PLATFORM = Platform(
    config="user data of `https://metadata.packet.net`",
    fetch_config=UserData(f"{_SITE}/userdata", _HEADERS, is_required=True).fetch,
    needs_network=True,
    metadata=describe_document(
        f"{_SITE}/metadata",
        _WHAT,
        {"HOSTNAME": "hostname", "PLAN": "plan"},
        headers=_HEADERS,
        find_more=_find_addresses,
        more=tuple(f"{name}{ending}_n" for name in _ADDRESSES for ending in ("", "_GATEWAY")),
        ssh_keys=lambda document: find_texts(document, "ssh_keys"),
    ),
    check_in=_check_in,
)
