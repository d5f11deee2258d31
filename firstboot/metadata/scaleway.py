"""Scaleway."""

from __future__ import annotations

from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import parse_json, text
from firstboot.places import Places
from firstboot.sources.scaleway import HOST
from firstboot.sources.service import Service

_PATHS = {
    "HOSTNAME": ("hostname",),
    "INSTANCE_ID": ("id",),
    "INSTANCE_TYPE": ("commercial_type",),
    "ZONE_ID": ("location", "zone_id"),
    "IPV4_PRIVATE": ("private_ip",),
    "IPV4_PUBLIC": ("public_ip", "address"),
    "IPV6_PUBLIC": ("ipv6", "address"),
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = parse_json(Service(places, log).get(f"http://{HOST}/conf?format=json"), "the instance's metadata")
    attributes = {f"SCALEWAY_{name}": text(found, *path) for name, path in _PATHS.items()}
    keys = found.get("ssh_public_keys")
    wanted = [text(each, "key") for each in keys] if isinstance(keys, list) else []
    return Metadata(attributes, text(found, "hostname"), tuple(key for key in wanted if key))


def check_in(places: Places, log: Log) -> None:
    """Tell Scaleway that the machine is up.

    Raises:
        FetchError
    """
    body = b'{"state_detail":"booted"}'
    headers = {"Content-Type": "application/json"}
    Service(places, log).ask(Request(f"http://{HOST}/state", headers, "PATCH", body))
