"""Oracle Cloud: its metadata service, version 2, which wants a header."""

from __future__ import annotations

from firstboot.platforms import Platform
from firstboot.platforms.shared.metadata import find_text, split_lines
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, UserData, describe_document

_INSTANCE = f"{LINK_LOCAL}/opc/v2/instance"
_HEADERS = {"Authorization": "Bearer Oracle"}

PLATFORM = Platform(
    firmware=(("chassis_asset_tag", "OracleCloud.com"),),
    config="user data of the metadata service, base64",
    fetch_config=UserData(f"{_INSTANCE}/metadata/user_data", _HEADERS, retried=(429,), in_base64=True).fetch,
    needs_network=True,
    addresses={"fd00:c1::a9fe:a9fe": "Oracle Cloud"},
    metadata=describe_document(
        _INSTANCE,
        "the instance's metadata",
        {
            "AVAILABILITY_DOMAIN": "availabilityDomain",
            "COMPARTMENT_ID": "compartmentId",
            "FAULT_DOMAIN": "faultDomain",
            "HOSTNAME": "hostname",
            "INSTANCE_ID": "id",
            "INSTANCE_SHAPE": "shape",
            "REGION_ID": "canonicalRegionName",
        },
        headers=_HEADERS,
        ssh_keys=lambda document: split_lines(find_text(document, "metadata.ssh_authorized_keys")),
    ),
)
