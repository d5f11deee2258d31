"""DigitalOcean: its metadata service, where every droplet has user data or something is wrong."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import LINK_LOCAL, Service

URL = f"{LINK_LOCAL}/metadata/v1/user-data"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The droplet's user data."""
    return Service(places, log).config(URL, required=True)
