"""Hetzner Cloud."""

from __future__ import annotations

import json

from firstboot.fetch import FetchError
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import LINK_LOCAL, Service

_PATHS = {
    "AVAILABILITY_ZONE": "availability-zone",
    "HOSTNAME": "hostname",
    "INSTANCE_ID": "instance-id",
    "PUBLIC_IPV4": "public-ipv4",
    "REGION": "region",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it; private networks are a list of YAML, of which only the addresses are wanted."""
    values = Values(Service(places, log), f"{LINK_LOCAL}/hetzner/v1/metadata")
    attributes = values.named("HETZNER", _PATHS)
    private = [line.removeprefix("- ") for line in values.lines("private-networks")]
    addresses = [line.partition(":")[2].strip() for line in private if line.startswith("ip:")]
    attributes |= {f"HETZNER_PRIVATE_IPV4_{number}": address for number, address in enumerate(addresses)}
    try:
        keys = json.loads(values.get("public-keys") or "[]")
    except ValueError:
        raise FetchError("the server's public keys are not valid JSON") from None
    found = tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()
    return Metadata(attributes, attributes["HETZNER_HOSTNAME"], found)
