"""IBM Cloud: a drive as cloud-init's NoCloud has it, or none if the machine has no user data."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.drives import config_on_drive

LABELS = ("cidata",)
PATH = "/user-data"
SECONDS = 30


def fetch(places: Places, log: Log) -> Fetched | None:
    """The drive's user data."""
    return config_on_drive(places, log, LABELS, PATH, required=False, seconds=SECONDS)
