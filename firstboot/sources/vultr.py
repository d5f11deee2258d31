"""Vultr: its metadata service."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import LINK_LOCAL, Service

URL = f"{LINK_LOCAL}/user-data/user-data"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data."""
    return Service(places, log).config(URL)
