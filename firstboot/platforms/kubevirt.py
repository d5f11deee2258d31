"""KubeVirt: a drive of either of the kinds that cloud-init reads, NoCloud's and OpenStack's."""

from __future__ import annotations

from firstboot.platforms import CLOUD_SOFTWARE, Platform
from firstboot.platforms.shared.config_drive import DriveConfig, describe_drive_document
from firstboot.platforms.shared.openstack_data import META_DATA, USER_DATA, find_keys

_LABELS = ("cidata", "config-2")
_HINT = "give the machine a volume cloudInitNoCloud or cloudInitConfigDrive"

PLATFORM = Platform(
    firmware=(("product_family", "KubeVirt"),),
    layer=CLOUD_SOFTWARE,
    config="the user data of a drive labelled `cidata` or `config-2`",
    fetch_config=DriveConfig(_LABELS, ("/user-data", USER_DATA), hint=_HINT).fetch,
    metadata=describe_drive_document(
        _LABELS,
        (META_DATA, "/meta-data"),
        {
            "HOSTNAME": ("hostname", "local-hostname"),
            "INSTANCE_ID": ("instance-id", "uuid"),
            "INSTANCE_TYPE": "instance_type",
        },
        hostname="HOSTNAME",
        find_keys=find_keys,
    ),
)
