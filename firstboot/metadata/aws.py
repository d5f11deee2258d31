"""Amazon EC2."""

from __future__ import annotations

from firstboot.fetch.imds import BASE, Imds
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import Service

_PATHS = {
    "HOSTNAME": "hostname",
    "PUBLIC_HOSTNAME": "public-hostname",
    "IPV4_LOCAL": "local-ipv4",
    "IPV4_PUBLIC": "public-ipv4",
    "IPV6": "ipv6",
    "AVAILABILITY_ZONE": "placement/availability-zone",
    "AVAILABILITY_ZONE_ID": "placement/availability-zone-id",
    "INSTANCE_ID": "instance-id",
    "INSTANCE_TYPE": "instance-type",
    "REGION": "placement/region",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it, by a session of version 2 where there is one."""
    service = Service(places, log)
    session = Imds(service.web, service.deadline).session_headers()
    values = Values(service, f"{BASE}/2021-01-03/meta-data", session)
    attributes = values.named("AWS", _PATHS)
    return Metadata(attributes, attributes["AWS_HOSTNAME"], values.indexed_keys())
