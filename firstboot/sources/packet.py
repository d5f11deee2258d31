"""Equinix Metal, formerly Packet: its metadata service, which does not answer Ignition's usual Accept."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import Service

URL = "https://metadata.packet.net/userdata"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The machine's user data."""
    return Service(places, log).config(URL, {"Accept": "*/*"}, required=True)
