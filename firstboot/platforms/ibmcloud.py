"""IBM Cloud: a drive as cloud-init's NoCloud has it, or none if the machine has no user data; it has no keys."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.config_drive import DriveConfig, describe_drive_document

_LABELS = ("cidata",)
_SECONDS = 30

PLATFORM = Platform(
    config=f"`user-data` of a drive labelled `cidata`, within {_SECONDS} s",
    fetch_config=DriveConfig(_LABELS, ("/user-data",), is_required=False, seconds=_SECONDS).fetch,
    metadata=describe_drive_document(
        _LABELS,
        ("/meta-data",),
        {"INSTANCE_ID": "instance-id", "LOCAL_HOSTNAME": "local-hostname"},
        hostname="LOCAL_HOSTNAME",
    ),
)
