"""Azure: user data from the instance metadata service; where there is none, custom data on the provisioning DVD."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.ovf_drive import fetch_custom_data
from firstboot.sources.service import LINK_LOCAL, Service, from_base64

URL = f"{LINK_LOCAL}/metadata/instance/compute/userData?api-version=2021-01-01&format=text"
HEADERS = {"Metadata": "true"}
NOT_YET = (404, 410, 429)  # what the service answers while it is updated or started


def fetch(places: Places, log: Log) -> Fetched | None:
    """The machine's user data, which is base64, or its custom data, which is not."""
    found = from_base64(Service(places, log).config(URL, HEADERS, retried=NOT_YET))
    return found if found is not None and found.data else fetch_custom_data(places, log)
