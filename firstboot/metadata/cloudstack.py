"""CloudStack: a config drive with a file for each value, or the DHCP server."""

from __future__ import annotations

from firstboot.fetch import FetchError
from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values
from firstboot.places import Places
from firstboot.sources.cloudstack import LABELS, services
from firstboot.sources.drives import find_drive, load_drivers, read_drive
from firstboot.sources.service import Service

_PATHS = {
    "AVAILABILITY_ZONE": "availability-zone",
    "CLOUD_IDENTIFIER": "cloud-identifier",
    "HOSTNAME": "hostname",
    "INSTANCE_ID": "instance-id",
    "IPV4_LOCAL": "local-ipv4",
    "IPV4_PUBLIC": "public-ipv4",
    "LOCAL_HOSTNAME": "local-hostname",
    "PUBLIC_HOSTNAME": "public-hostname",
    "SERVICE_OFFERING": "service-offering",
    "VM_ID": "vm-id",
}
_DIRECTORY = "/cloudstack/metadata"


def read(places: Places, log: Log) -> Metadata:
    """All of it, from the drive if there is one."""
    load_drivers(places)
    device = find_drive(places, LABELS)
    if device is not None:
        # On the drive names have underscores and an ending.
        files = {f"{_DIRECTORY}/{path.replace('-', '_')}.txt": name for name, path in _PATHS.items()}
        keys = f"{_DIRECTORY}/public_keys.txt"
        found = {each.name.partition(" of ")[0]: each.data for each in read_drive(places, device, (*files, keys))}
        values = {name: found.get(path, b"").decode("utf-8", "replace").strip() for path, name in files.items()}
        lines = found.get(keys, b"").decode("utf-8", "replace").splitlines()
    else:
        service = Service(places, log)
        urls = services(places)
        if not urls:
            raise FetchError("no DHCP server is known, which would be CloudStack's metadata service")
        server = Values(service, f"{urls[0]}/latest/meta-data")
        values = {name: server.get(path) for name, path in _PATHS.items()}
        lines = server.lines("public-keys")
    attributes = {f"CLOUDSTACK_{name}": value for name, value in values.items()}
    keys_found = tuple(line.strip() for line in lines if line.strip())
    return Metadata(attributes, values["LOCAL_HOSTNAME"] or values["HOSTNAME"], keys_found)
