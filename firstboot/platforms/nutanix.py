"""Nutanix AHV: a config drive as OpenStack's."""

from __future__ import annotations

from firstboot.platforms import CLOUD_SOFTWARE, Platform
from firstboot.platforms.shared.config_drive import DriveConfig
from firstboot.platforms.shared.openstack_data import LABELS, USER_DATA

PLATFORM = Platform(
    firmware=(("sys_vendor", "Nutanix"),),
    layer=CLOUD_SOFTWARE,
    config="the user data of a drive labelled `config-2`",
    fetch_config=DriveConfig(LABELS, (USER_DATA,)).fetch,
)
