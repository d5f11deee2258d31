"""Alibaba Cloud: its metadata service has an address of its own."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import UserData, describe_values, read_indexed_keys

_ADDRESS = "100.100.100.200"

PLATFORM = Platform(
    firmware=(("product_name", "Alibaba Cloud ECS"),),
    config=f"user data of `http://{_ADDRESS}`",
    fetch_config=UserData(f"http://{_ADDRESS}/latest/user-data").fetch,
    needs_network=True,
    addresses={_ADDRESS: "Alibaba Cloud"},
    metadata=describe_values(
        f"http://{_ADDRESS}/latest/meta-data",
        {
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
        },
        ssh_keys=read_indexed_keys,
    ),
)
