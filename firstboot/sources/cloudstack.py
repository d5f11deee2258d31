"""CloudStack: a config drive, or the DHCP server, which is the metadata service as well."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.openstack import drive_or_service

LABELS = ("config-2",)
PATH = "/cloudstack/userdata/user_data.txt"
LEASES = "/run/systemd/netif/leases"


def fetch(places: Places, log: Log) -> Fetched | None:
    """The machine's user data."""
    return drive_or_service(
        places, log, LABELS, PATH, lambda: [f"{each}/latest/user-data" for each in services(places)]
    )


def services(places: Places) -> list[str]:
    """The URLs of the DHCP servers that gave this machine its addresses (systemd-networkd's leases)."""
    found = []
    for lease in sorted(places.at(LEASES).glob("*")):
        for line in lease.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "SERVER_ADDRESS" and value:
                found.append(f"http://{value}")
    return found
