"""Proxmox VE: the cloud-init drive. Name and keys are in what is for cloud-init, the rest in ``meta-data``."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import document_on_drive, text, texts
from firstboot.places import Places
from firstboot.sources.proxmoxve import LABELS


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    machine = document_on_drive(places, log, LABELS, ("/meta-data",))
    user = document_on_drive(places, log, LABELS, ("/user-data",))
    hostname = text(user, "hostname")
    attributes = {"PROXMOXVE_HOSTNAME": hostname, "PROXMOXVE_INSTANCE_ID": text(machine, "instance-id")}
    return Metadata(attributes, hostname, tuple(texts(user, "ssh_authorized_keys")))
