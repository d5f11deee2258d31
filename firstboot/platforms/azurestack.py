"""Azure Stack: the provisioning DVD only."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.provisioning_dvd import fetch_custom_data

PLATFORM = Platform(config="custom data on the provisioning DVD", fetch_config=fetch_custom_data)
