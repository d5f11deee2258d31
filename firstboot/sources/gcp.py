"""Google Cloud: its metadata service, which wants a header so that a redirect cannot ask it."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import LINK_LOCAL, Service

URL = f"{LINK_LOCAL}/computeMetadata/v1/instance/attributes/user-data"
HEADERS = {"Metadata-Flavor": "Google"}


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's attribute ``user-data``."""
    return Service(places, log).config(URL, HEADERS)
