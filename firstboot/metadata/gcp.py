"""Google Cloud."""

from __future__ import annotations

from firstboot.fetch.gs import METADATA, METADATA_HEADERS
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.service import Service

_PATHS = {
    "HOSTNAME": "instance/hostname",
    "IP_EXTERNAL_0": "instance/network-interfaces/0/access-configs/0/external-ip",
    "IP_LOCAL_0": "instance/network-interfaces/0/ip",
    "MACHINE_TYPE": "instance/machine-type",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    values = Values(Service(places, log), METADATA, METADATA_HEADERS)
    attributes = values.named("GCP", _PATHS)
    return Metadata(attributes, attributes["GCP_HOSTNAME"], _keys(values))


def _keys(values: Values) -> tuple[str, ...]:
    """Lines are ``USER:KEY``. An instance's keys of the old kind replace all others; it may refuse its project's."""
    found = values.lines("instance/attributes/sshKeys")
    if not found:
        found = values.lines("instance/attributes/ssh-keys")
        if values.get("instance/attributes/block-project-ssh-keys").lower() != "true":
            found += values.lines("project/attributes/sshKeys") + values.lines("project/attributes/ssh-keys")
    return tuple(line.partition(":")[2] for line in found if ":" in line)
