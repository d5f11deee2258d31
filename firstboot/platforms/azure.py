"""Azure: the instance metadata service and a provisioning DVD; the check-in goes to the host's wire server.

afterburn takes addresses from the wire server's goal state and keys out of an encrypted bundle of certificates. The
metadata service has had both for years, documented and in plain form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from firstboot.fetch.errors import FetchError
from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched, Platform
from firstboot.platforms.shared.metadata import find_items, find_text
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, Service, UserData, describe_document
from firstboot.platforms.shared.provisioning_dvd import fetch_custom_data

_WIRE_SERVER = "168.63.129.16"
_INSTANCE = f"{LINK_LOCAL}/metadata/instance"
_HEADERS = {"Metadata": "true"}
_NOT_YET = (404, 410, 429)  # what the service answers while it is updated or started
_USER_DATA = UserData(
    f"{_INSTANCE}/compute/userData?api-version=2021-01-01&format=text", _HEADERS, retried=_NOT_YET, in_base64=True
)
_ADDRESS = "network.interface.0.ipv4.ipAddress.0"
_VERSION = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "build-os"}
_READY = """<?xml version="1.0" encoding="utf-8"?>
<Health>
  <GoalStateIncarnation>{incarnation}</GoalStateIncarnation>
  <Container>
    <ContainerId>{container}</ContainerId>
    <RoleInstanceList>
      <Role>
        <InstanceId>{instance}</InstanceId>
        <Health><State>Ready</State></Health>
      </Role>
    </RoleInstanceList>
  </Container>
</Health>
"""


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The machine's user data, which is base64, or its custom data, which is not."""
    fetched = _USER_DATA.fetch(places, log)
    return fetched if fetched is not None and fetched.data else fetch_custom_data(places, log)


def _find_keys(document: Any) -> Iterable[str]:
    keys = (find_text(item, "keyData") for item in find_items(document, "compute.publicKeys"))
    return (" ".join(key.split()) for key in keys if key)


def _check_in(places: Places, log: Log) -> None:
    """Tell the wire server that the machine is ready; otherwise Azure gives up on it after a while."""
    service = Service(places, log)
    state = service.get(f"http://{_WIRE_SERVER}/machine/?comp=goalstate", _VERSION)
    try:
        root = ElementTree.fromstring(state)
    except ElementTree.ParseError:
        raise FetchError("the wire server's goal state is not valid XML") from None
    paths = {"incarnation": "Incarnation", "container": ".//ContainerId", "instance": ".//InstanceId"}
    body = _READY.format(**{name: escape(root.findtext(path) or "") for name, path in paths.items()})
    headers = {**_VERSION, "Content-Type": "text/xml; charset=utf-8"}
    service.send(Request(f"http://{_WIRE_SERVER}/machine/?comp=health", headers, "POST", body.encode()))


PLATFORM = Platform(
    firmware=(("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"),),
    config="user data of the metadata service; where that is empty, custom data on the provisioning DVD",
    fetch_config=_fetch_config,
    needs_network=True,
    addresses={_WIRE_SERVER: "Azure, the wire server"},
    metadata=describe_document(
        f"{_INSTANCE}?api-version=2021-02-01",
        "the instance's metadata",
        {
            "IPV4_DYNAMIC": f"{_ADDRESS}.privateIpAddress",
            "IPV4_VIRTUAL": f"{_ADDRESS}.publicIpAddress",
            "VMSIZE": "compute.vmSize",
        },
        headers=_HEADERS,
        retried=(404, 410),
        hostname="compute.name",
        ssh_keys=_find_keys,
    ),
    check_in=_check_in,
)
