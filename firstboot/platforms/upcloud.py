"""UpCloud: its metadata service."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, describe_values

PLATFORM = Platform(
    firmware=(("sys_vendor", "UpCloud"),),
    config="user data of the metadata service",
    fetch_config=UserData(f"{LINK_LOCAL}/metadata/v1/user_data").fetch,
    needs_network=True,
    metadata=describe_values(
        f"{LINK_LOCAL}/metadata/v1",
        {"HOSTNAME": "hostname", "INSTANCE_ID": "instance_id", "REGION": "region"},
        ssh_keys="public_keys",
    ),
)
