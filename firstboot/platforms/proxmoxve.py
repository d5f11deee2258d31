"""Proxmox VE: the cloud-init drive, whose files may be Proxmox's own for cloud-init, which this is not.

Name and keys are in what is for cloud-init, the rest of the metadata in ``meta-data``.
"""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched, Platform
from firstboot.platforms.shared.config_drive import DriveConfig, read_document
from firstboot.platforms.shared.metadata import Metadata, MetadataProvider, find_text, find_texts

_LABELS = ("cidata",)
_DRIVE = DriveConfig(_LABELS, ("/user-data", "/vendor-data"), is_required=False, seconds=30)
_CLOUD_CONFIG = b"#cloud-config\n"


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The first of the drive's files that has something in it which is not for cloud-init."""
    files = _DRIVE.fetch_all(places, log)
    return next((file for file in files if file.data and not file.data.startswith(_CLOUD_CONFIG)), None)


def _read_metadata(places: Places, log: Log) -> Metadata:
    machine, user = (read_document(places, log, _LABELS, (path,)) for path in ("/meta-data", "/user-data"))
    hostname = find_text(user, "hostname")
    attributes = {"HOSTNAME": hostname, "INSTANCE_ID": find_text(machine, "instance-id")}
    return Metadata(attributes, hostname, tuple(find_texts(user, "ssh_authorized_keys")))


PLATFORM = Platform(
    config="`user-data` or `vendor-data` of a drive labelled `cidata`, within 30 s; "
    "what is for cloud-init is passed over",
    fetch_config=_fetch_config,
    metadata=MetadataProvider(_read_metadata, ("HOSTNAME", "INSTANCE_ID")),
)
