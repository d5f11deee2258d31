"""Oracle Cloud: its metadata service, version 2, which wants a header."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import LINK_LOCAL, Service, from_base64

URL = f"{LINK_LOCAL}/opc/v2/instance/metadata/user_data"
HEADERS = {"Authorization": "Bearer Oracle"}


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data, which is base64."""
    return from_base64(Service(places, log).config(URL, HEADERS, retried=(429,)))
