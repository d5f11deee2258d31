"""Scaleway: its metadata service, which tells user data only to root: to whoever asks from a port below 1024."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from firstboot.fetch.web import Connect, Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata import find_items, find_text
from firstboot.platforms.shared.metadata_service import Service, UserData, describe_document

_ADDRESS = "169.254.42.42"
_SITE = f"http://{_ADDRESS}"
_PRIVILEGED_PORTS = range(1, 1024)


def _connect_as_root(places: Places) -> Connect:
    def connect(seconds: float) -> socket.socket:
        return places.connector.connect_tcp(_ADDRESS, 80, seconds, source_ports=_PRIVILEGED_PORTS)

    return connect


def _find_keys(document: Any) -> Iterable[str]:
    return filter(None, (find_text(item, "key") for item in find_items(document, "ssh_public_keys")))


def _check_in(places: Places, log: Log) -> None:
    headers = {"Content-Type": "application/json"}
    Service(places, log).send(Request(f"{_SITE}/state", headers, "PATCH", b'{"state_detail":"booted"}'))


PLATFORM = Platform(
    firmware=(("sys_vendor", "Scaleway"),),
    config=f"user data of `{_SITE}`, asked from a port below 1024",
    fetch_config=UserData(f"{_SITE}/user_data/cloud-init", connect=_connect_as_root).fetch,
    needs_network=True,
    addresses={_ADDRESS: "Scaleway", "fd00:42::42": "Scaleway"},
    metadata=describe_document(
        f"{_SITE}/conf?format=json",
        "the instance's metadata",
        {
            "HOSTNAME": "hostname",
            "INSTANCE_ID": "id",
            "INSTANCE_TYPE": "commercial_type",
            "ZONE_ID": "location.zone_id",
            "IPV4_PRIVATE": "private_ip",
            "IPV4_PUBLIC": "public_ip.address",
            "IPV6_PUBLIC": "ipv6.address",
        },
        ssh_keys=_find_keys,
    ),
    check_in=_check_in,
)
