"""Azure: values and keys from the instance metadata service; the check-in goes to the host's wire server.

afterburn takes addresses from the wire server's goal state and keys out of an encrypted bundle of certificates. The
metadata service has had both for years, documented and in plain form.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.sax.saxutils import escape

from firstboot.fetch import FetchError
from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import parse_json, text
from firstboot.places import Places
from firstboot.sources.service import LINK_LOCAL, Service

INSTANCE = f"{LINK_LOCAL}/metadata/instance?api-version=2021-02-01"
WIRE_SERVER = "http://168.63.129.16"
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


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    service = Service(places, log)
    found = parse_json(service.get(INSTANCE, {"Metadata": "true"}, retried=(404, 410)), "the instance's metadata")
    address = ("network", "interface", 0, "ipv4", "ipAddress", 0)
    attributes = {
        "AZURE_IPV4_DYNAMIC": text(found, *address, "privateIpAddress"),
        "AZURE_IPV4_VIRTUAL": text(found, *address, "publicIpAddress"),
        "AZURE_VMSIZE": text(found, "compute", "vmSize"),
    }
    compute = found.get("compute")
    keys = compute.get("publicKeys") if isinstance(compute, dict) else None
    wanted = [text(each, "keyData") for each in keys] if isinstance(keys, list) else []
    return Metadata(attributes, text(found, "compute", "name"), tuple(" ".join(key.split()) for key in wanted if key))


def check_in(places: Places, log: Log) -> None:
    """Tell the wire server that the machine is ready; otherwise Azure gives up on it after a while.

    Raises:
        FetchError
    """
    service = Service(places, log)
    state = service.get(f"{WIRE_SERVER}/machine/?comp=goalstate", _VERSION)
    try:
        root = ElementTree.fromstring(state)
    except ElementTree.ParseError:
        raise FetchError("the wire server's goal state is not valid XML") from None
    names = {"incarnation": "Incarnation", "container": ".//ContainerId", "instance": ".//InstanceId"}
    body = _READY.format(**{name: escape(root.findtext(path) or "") for name, path in names.items()})
    headers = {**_VERSION, "Content-Type": "text/xml; charset=utf-8"}
    service.ask(Request(f"{WIRE_SERVER}/machine/?comp=health", headers, "POST", body.encode()))
