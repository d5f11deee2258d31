"""IBM Power Virtual Server: a config drive as OpenStack's."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import document_on_drive, text
from firstboot.metadata.kubevirt import keys_of
from firstboot.places import Places
from firstboot.sources.powervs import LABELS


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = document_on_drive(places, log, LABELS, ("/openstack/latest/meta_data.json",))
    hostname = text(found, "local_hostname") or text(found, "hostname")
    attributes = {
        "POWERVS_INSTANCE_ID": text(found, "instance_id") or text(found, "uuid"),
        "POWERVS_LOCAL_HOSTNAME": hostname,
    }
    return Metadata(attributes, hostname, keys_of(found))
