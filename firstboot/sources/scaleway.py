"""Scaleway: its metadata service, which tells user data only to root: to whoever asks from a port below 1024."""

from __future__ import annotations

import socket

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import Service

HOST = "169.254.42.42"
URL = f"http://{HOST}/user_data/cloud-init"
PRIVILEGED_PORTS = range(1, 1024)


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data."""

    def connect(seconds: float) -> socket.socket:
        return places.reach.tcp(HOST, 80, seconds, source_ports=PRIVILEGED_PORTS)

    return Service(places, log).config(URL, connect=connect)
