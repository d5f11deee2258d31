"""Amazon EC2: its metadata service, version 2 or, where there is no other, version 1."""

from __future__ import annotations

from firstboot.config.text import MAX_BYTES
from firstboot.fetch import NotFound
from firstboot.fetch.imds import BASE, Imds
from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import Service

PATH = "/2019-10-01/user-data"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data."""
    service = Service(places, log)
    try:
        return Fetched(f"{BASE}{PATH}", Imds(service.web, service.deadline).get(PATH, MAX_BYTES))
    except NotFound:
        return None
