"""Apple's hypervisor (vfkit, podman machine): HTTP over a vsock to the host, without a network."""

from __future__ import annotations

import socket

from firstboot.fetch.web import Connect
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import HYPERVISOR, Fetched, Platform
from firstboot.platforms.shared.metadata_service import UserData

_HOST_CID, _PORT = 2, 1024  # vsock(7): VMADDR_CID_HOST


def _connect(places: Places) -> Connect:
    def connect(seconds: float) -> socket.socket:
        return places.connector.connect_vsock(_HOST_CID, _PORT, seconds)

    return connect


_SERVED = UserData("http://host/", {"Accept": "application/json"}, connect=_connect, network=False)


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """What the host serves at ``/``."""
    fetched = _SERVED.fetch(places, log)
    return None if fetched is None else Fetched(f"vsock port {_PORT} of the host", fetched.data)


PLATFORM = Platform(
    firmware=(("product_name", "Apple Virtualization"),),
    layer=HYPERVISOR,
    config=f"what the host serves on vsock port {_PORT}",
    fetch_config=_fetch_config,
    modules=("vsock", "vmw_vsock_virtio_transport"),
)
