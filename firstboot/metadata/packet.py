"""Equinix Metal, formerly Packet."""

from __future__ import annotations

import json

from firstboot.fetch import FetchError
from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import numbered, parse_json, text, texts
from firstboot.places import Places
from firstboot.sources.service import Service

URL = "https://metadata.packet.net/metadata"
_BOOTED = {"state": "succeeded", "code": 1042, "message": "boot check-in"}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = parse_json(Service(places, log).get(URL, {"Accept": "*/*"}), "the machine's metadata")
    attributes = {"PACKET_HOSTNAME": text(found, "hostname"), "PACKET_PLAN": text(found, "plan")}
    network = found.get("network")
    addresses = network.get("addresses") if isinstance(network, dict) else None
    for version, public in ((4, True), (4, False), (6, True), (6, False)):
        mine = [
            each
            for each in (addresses if isinstance(addresses, list) else [])
            if text(each, "address_family") == str(version) and (text(each, "public") == "True") is public
        ]
        name = f"PACKET_IPV{version}_{'PUBLIC' if public else 'PRIVATE'}"
        attributes |= numbered(name, [text(each, "address") for each in mine])
        attributes |= numbered(f"{name}_GATEWAY", [text(each, "gateway") for each in mine])
    return Metadata(attributes, text(found, "hostname"), tuple(texts(found, "ssh_keys")))


def check_in(places: Places, log: Log) -> None:
    """Tell Equinix that the machine is up: at the URL that its metadata names.

    Raises:
        FetchError
    """
    service = Service(places, log)
    found = parse_json(service.get(URL, {"Accept": "*/*"}), "the machine's metadata")
    url = text(found, "phone_home_url").removesuffix("/phone-home")
    if not url:
        raise FetchError("the machine's metadata has no phone_home_url")
    headers = {"Content-Type": "application/json"}
    service.ask(Request(f"{url}/events", headers, "POST", json.dumps(_BOOTED).encode()))
