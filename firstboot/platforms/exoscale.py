"""Exoscale: its metadata service."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, describe_values

PLATFORM = Platform(
    firmware=(("product_name", "Exoscale"),),
    config="user data of the metadata service",
    fetch_config=UserData(f"{LINK_LOCAL}/1.0/user-data").fetch,
    needs_network=True,
    metadata=describe_values(
        f"{LINK_LOCAL}/1.0/meta-data",
        {
            "AVAILABILITY_ZONE": "availability-zone",
            "CLOUD_IDENTIFIER": "cloud-identifier",
            "INSTANCE_ID": "instance-id",
            "LOCAL_IPV4": "local-ipv4",
            "PUBLIC_IPV4": "public-ipv4",
            "LOCAL_HOSTNAME": "local-hostname",
            "PUBLIC_HOSTNAME": "public-hostname",
            "SERVICE_OFFERING": "service-offering",
            "VM_ID": "vm-id",
        },
        hostname="LOCAL_HOSTNAME",
        ssh_keys="public-keys",
    ),
)
