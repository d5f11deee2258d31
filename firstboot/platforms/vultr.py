"""Vultr: its metadata service."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, describe_values

PLATFORM = Platform(
    firmware=(("sys_vendor", "Vultr"),),
    config="user data of the metadata service",
    fetch_config=UserData(f"{LINK_LOCAL}/user-data/user-data").fetch,
    needs_network=True,
    metadata=describe_values(
        f"{LINK_LOCAL}/v1",
        {"HOSTNAME": "hostname", "INSTANCE_ID": "instanceid", "REGION_CODE": "region/regioncode"},
        ssh_keys="public-keys",
    ),
)
