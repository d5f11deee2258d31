"""Azure Stack: the provisioning DVD only."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.ovf_drive import fetch_custom_data


def fetch(places: Places, log: Log) -> Fetched | None:
    """The machine's custom data."""
    return fetch_custom_data(places, log)
