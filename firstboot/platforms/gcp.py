"""Google Cloud: its metadata service, which wants a header so that a redirect cannot ask it."""

from __future__ import annotations

from firstboot.fetch.schemes.gs import METADATA, METADATA_HEADERS
from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata_service import UserData, Values, describe_values


def _read_keys(values: Values) -> list[str]:
    """Lines are ``USER:KEY``. An instance's keys of the old kind replace all others; it may refuse its project's."""
    lines = values.get_lines("instance/attributes/sshKeys")
    if not lines:
        lines = values.get_lines("instance/attributes/ssh-keys")
        if values.get("instance/attributes/block-project-ssh-keys").lower() != "true":
            for name in ("sshKeys", "ssh-keys"):
                lines += values.get_lines(f"project/attributes/{name}")
    return [line.partition(":")[2] for line in lines if ":" in line]


PLATFORM = Platform(
    firmware=(("product_name", "Google Compute Engine"),),
    config="the instance's attribute `user-data`",
    fetch_config=UserData(f"{METADATA}/instance/attributes/user-data", METADATA_HEADERS).fetch,
    needs_network=True,
    addresses={"fd20:ce::254": "Google Cloud"},
    metadata=describe_values(
        METADATA,
        {
            "HOSTNAME": "instance/hostname",
            "IP_EXTERNAL_0": "instance/network-interfaces/0/access-configs/0/external-ip",
            "IP_LOCAL_0": "instance/network-interfaces/0/ip",
            "MACHINE_TYPE": "instance/machine-type",
        },
        headers=METADATA_HEADERS,
        ssh_keys=_read_keys,
    ),
)
