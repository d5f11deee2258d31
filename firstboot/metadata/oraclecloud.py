"""Oracle Cloud."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import parse_json, text
from firstboot.places import Places
from firstboot.sources.oraclecloud import HEADERS
from firstboot.sources.service import LINK_LOCAL, Service

_KEYS = {
    "AVAILABILITY_DOMAIN": "availabilityDomain",
    "COMPARTMENT_ID": "compartmentId",
    "FAULT_DOMAIN": "faultDomain",
    "HOSTNAME": "hostname",
    "INSTANCE_ID": "id",
    "INSTANCE_SHAPE": "shape",
    "REGION_ID": "canonicalRegionName",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    service = Service(places, log)
    found = parse_json(service.get(f"{LINK_LOCAL}/opc/v2/instance", HEADERS), "the instance's metadata")
    attributes = {f"ORACLECLOUD_{name}": text(found, key) for name, key in _KEYS.items()}
    keys = text(found, "metadata", "ssh_authorized_keys").splitlines()
    return Metadata(attributes, text(found, "hostname"), tuple(key.strip() for key in keys if key.strip()))
