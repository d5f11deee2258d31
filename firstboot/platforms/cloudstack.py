"""CloudStack: a config drive with a file for each value, or the DHCP server, which is the metadata service as well."""

from __future__ import annotations

from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import CLOUD_SOFTWARE, Fetched, Platform
from firstboot.platforms.shared.config_drive import find_drive, load_drivers, read_drive_files
from firstboot.platforms.shared.drive_or_service import fetch_from_drive_or_service
from firstboot.platforms.shared.metadata import Metadata, MetadataProvider, split_lines
from firstboot.platforms.shared.metadata_service import Service, Values

_LABELS = ("config-2",)
_USER_DATA = "/cloudstack/userdata/user_data.txt"
_LEASES = "/run/systemd/netif/leases"
_KEYS = "public-keys"
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


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The machine's user data."""
    return fetch_from_drive_or_service(places, log, _LABELS, _USER_DATA, _find_user_data_urls)


def _find_user_data_urls(places: Places) -> list[str]:
    return [f"{server}/latest/user-data" for server in _find_servers(places)]


def _find_servers(places: Places) -> list[str]:
    """The URLs of the DHCP servers that gave this machine its addresses (systemd-networkd's leases)."""
    servers = []
    for lease in sorted(places.locate(_LEASES).glob("*")):
        for line in lease.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "SERVER_ADDRESS" and value:
                servers.append(f"http://{value}")
    return servers


def _read_metadata(places: Places, log: Log) -> Metadata:
    """All of it, from the drive if there is one."""
    load_drivers(places)
    device = find_drive(places, _LABELS)
    if device is not None:
        # On the drive names have underscores and an ending.
        files = {path: f"/cloudstack/metadata/{path.replace('-', '_')}.txt" for path in (*_PATHS.values(), _KEYS)}
        contents = read_drive_files(places, device, tuple(files.values()))
        texts = {path: contents.get(file, b"").decode("utf-8", "replace").strip() for path, file in files.items()}
        attributes, keys = {name: texts[path] for name, path in _PATHS.items()}, split_lines(texts[_KEYS])
    else:
        service = Service(places, log)
        servers = _find_servers(places)
        if not servers:
            raise FetchError("no DHCP server is known, which would be CloudStack's metadata service")
        values = Values(service, f"{servers[0]}/latest/meta-data")
        attributes, keys = values.get_attributes(_PATHS), values.get_lines(_KEYS)
    return Metadata(attributes, attributes["LOCAL_HOSTNAME"] or attributes["HOSTNAME"], tuple(keys))


PLATFORM = Platform(
    firmware=(("product_name", "CloudStack"),),
    layer=CLOUD_SOFTWARE,
    config="a drive labelled `config-2`, or user data of the DHCP server",
    fetch_config=_fetch_config,
    needs_network=True,
    metadata=MetadataProvider(_read_metadata, tuple(_PATHS)),
)
