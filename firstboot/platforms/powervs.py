"""IBM Power Virtual Server: a config drive as OpenStack's."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.config_drive import DriveConfig, describe_drive_document
from firstboot.platforms.shared.openstack_data import LABELS, META_DATA, USER_DATA, find_keys

PLATFORM = Platform(
    config="the user data of a drive labelled `config-2`",
    fetch_config=DriveConfig(LABELS, (USER_DATA,)).fetch,
    metadata=describe_drive_document(
        LABELS,
        (META_DATA,),
        {"INSTANCE_ID": ("instance_id", "uuid"), "LOCAL_HOSTNAME": ("local_hostname", "hostname")},
        hostname="LOCAL_HOSTNAME",
        find_keys=find_keys,
    ),
)
