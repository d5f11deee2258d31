"""IBM Cloud: the config drive's ``meta-data``, which has no keys."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import document_on_drive, text
from firstboot.places import Places

LABELS = ("cidata",)


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = document_on_drive(places, log, LABELS, ("/meta-data",))
    hostname = text(found, "local-hostname")
    attributes = {"IBMCLOUD_INSTANCE_ID": text(found, "instance-id"), "IBMCLOUD_LOCAL_HOSTNAME": hostname}
    return Metadata(attributes, hostname)
