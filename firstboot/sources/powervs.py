"""IBM Power Virtual Server: a config drive as OpenStack's."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.drives import config_on_drive

LABELS = ("config-2",)
PATH = "/openstack/latest/user_data"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The drive's user data."""
    return config_on_drive(places, log, LABELS, PATH, required=True)
