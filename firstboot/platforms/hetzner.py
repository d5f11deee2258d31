"""Hetzner Cloud: its metadata service."""

from __future__ import annotations

import json

from firstboot.fetch.errors import FetchError
from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata import make_numbered
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, Values, describe_values


def _read_private_addresses(values: Values) -> dict[str, str]:
    """Private networks are a list of YAML, of which only the addresses are wanted."""
    lines = [line.removeprefix("- ") for line in values.get_lines("private-networks")]
    addresses = [line.partition(":")[2].strip() for line in lines if line.startswith("ip:")]
    return make_numbered("PRIVATE_IPV4", addresses)


def _read_keys(values: Values) -> list[str]:
    try:
        keys = json.loads(values.get("public-keys") or "[]")
    except ValueError:
        raise FetchError("the server's public keys are not valid JSON") from None
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


PLATFORM = Platform(
    firmware=(("sys_vendor", "Hetzner"),),
    config="user data of the metadata service",
    fetch_config=UserData(f"{LINK_LOCAL}/hetzner/v1/userdata").fetch,
    needs_network=True,
    metadata=describe_values(
        f"{LINK_LOCAL}/hetzner/v1/metadata",
        {
            "AVAILABILITY_ZONE": "availability-zone",
            "HOSTNAME": "hostname",
            "INSTANCE_ID": "instance-id",
            "PUBLIC_IPV4": "public-ipv4",
            "REGION": "region",
        },
        read_more=_read_private_addresses,
        more=("PRIVATE_IPV4_n",),
        ssh_keys=_read_keys,
    ),
)
