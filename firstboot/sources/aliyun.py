"""Alibaba Cloud: its metadata service, which has an address of its own."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import Service

URL = "http://100.100.100.200/latest/user-data"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data."""
    return Service(places, log).config(URL)
