"""Apple's hypervisor (vfkit, podman machine): HTTP over a vsock to the host, without a network."""

from __future__ import annotations

import socket

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import Service

HOST_CID, PORT = 2, 1024  # vsock(7): VMADDR_CID_HOST


def fetch(places: Places, log: Log) -> Fetched | None:
    """What the host serves at ``/``."""
    for module in ("vsock", "vmw_vsock_virtio_transport"):
        places.load_module(module)

    def connect(seconds: float) -> socket.socket:
        return places.reach.vsock(HOST_CID, PORT, seconds)

    service = Service(places, log, network=False)
    found = service.config("http://host/", {"Accept": "application/json"}, connect=connect)
    return None if found is None else Fetched(f"vsock port {PORT} of the host", found.data)
