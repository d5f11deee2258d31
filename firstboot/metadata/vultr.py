"""Vultr."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import LINK_LOCAL, Service

_PATHS = {"HOSTNAME": "hostname", "INSTANCE_ID": "instanceid", "REGION_CODE": "region/regioncode"}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    values = Values(Service(places, log), f"{LINK_LOCAL}/v1")
    attributes = values.named("VULTR", _PATHS)
    return Metadata(attributes, attributes["VULTR_HOSTNAME"], tuple(values.lines("public-keys")))
