"""Brightbox: as OpenStack."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.drive_or_service import fetch_openstack_config

PLATFORM = Platform(config="as `openstack`", fetch_config=fetch_openstack_config, needs_network=True)
