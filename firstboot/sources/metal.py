"""A machine that nobody gives a config to. What it is to be comes from its image."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched


def fetch(places: Places, log: Log) -> Fetched | None:
    """Nothing."""
    del places, log
    return None
