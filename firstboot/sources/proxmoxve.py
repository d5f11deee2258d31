"""Proxmox VE: the cloud-init drive, whose files may be Proxmox's own for cloud-init, which this is not."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.drives import read_drive, wait_for_drive

LABELS = ("cidata",)
PATHS = ("/user-data", "/vendor-data")
SECONDS = 30
_CLOUD_CONFIG = b"#cloud-config\n"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The first of the drive's files that has something in it which is not for cloud-init."""
    device = wait_for_drive(places, log, LABELS, SECONDS)
    found = [] if device is None else read_drive(places, device, PATHS)
    return next((each for each in found if each.data and not each.data.startswith(_CLOUD_CONFIG)), None)
