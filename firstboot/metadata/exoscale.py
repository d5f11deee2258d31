"""Exoscale."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import LINK_LOCAL, Service

_PATHS = {
    "AVAILABILITY_ZONE": "availability-zone",
    "CLOUD_IDENTIFIER": "cloud-identifier",
    "INSTANCE_ID": "instance-id",
    "LOCAL_IPV4": "local-ipv4",
    "PUBLIC_IPV4": "public-ipv4",
    "LOCAL_HOSTNAME": "local-hostname",
    "PUBLIC_HOSTNAME": "public-hostname",
    "SERVICE_OFFERING": "service-offering",
    "VM_ID": "vm-id",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    values = Values(Service(places, log), f"{LINK_LOCAL}/1.0/meta-data")
    attributes = values.named("EXOSCALE", _PATHS)
    return Metadata(attributes, attributes["EXOSCALE_LOCAL_HOSTNAME"], tuple(values.lines("public-keys")))
