"""OpenStack's config drive and metadata service, which other platforms have as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from firstboot.platforms.shared.metadata import find_value

LABELS = ("config-2",)
USER_DATA = "/openstack/latest/user_data"
META_DATA = "/openstack/latest/meta_data.json"


def find_keys(document: Any) -> Iterable[str]:
    """The SSH keys of OpenStack's metadata: the values of a mapping."""
    keys = find_value(document, "public_keys")
    return [key.strip() for key in keys.values() if isinstance(key, str)] if isinstance(keys, dict) else []
