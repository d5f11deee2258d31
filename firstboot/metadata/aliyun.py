"""Alibaba Cloud."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import Service

BASE = "http://100.100.100.200/latest/meta-data"
_PATHS = {
    "EIPV4": "eipv4",
    "HOSTNAME": "hostname",
    "IMAGE_ID": "image-id",
    "INSTANCE_ID": "instance-id",
    "INSTANCE_TYPE": "instance/instance-type",
    "IPV4_PRIVATE": "private-ipv4",
    "IPV4_PUBLIC": "public-ipv4",
    "REGION_ID": "region-id",
    "VPC_ID": "vpc-id",
    "ZONE_ID": "zone-id",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    values = Values(Service(places, log), BASE)
    attributes = values.named("ALIYUN", _PATHS)
    return Metadata(attributes, attributes["ALIYUN_HOSTNAME"], values.indexed_keys())
