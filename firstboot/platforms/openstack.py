"""OpenStack: a config drive or the metadata service, whichever is there first; the service also by IPv6.

Metadata is the drive's if there is one, else the service's in its form of EC2's.
"""

from __future__ import annotations

from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import CLOUD_SOFTWARE, Platform
from firstboot.platforms.shared.config_drive import find_drive, load_drivers, read_drive_files
from firstboot.platforms.shared.drive_or_service import fetch_openstack_config
from firstboot.platforms.shared.metadata import Metadata, MetadataProvider, find_attributes, find_text, parse_json
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, describe_values, read_indexed_keys
from firstboot.platforms.shared.openstack_data import LABELS, META_DATA, find_keys

_EC2_META_DATA = "/ec2/latest/meta-data.json"
_PATHS = {
    "HOSTNAME": "hostname",
    "INSTANCE_ID": "instance-id",
    "INSTANCE_TYPE": "instance-type",
    "IPV4_LOCAL": "local-ipv4",
    "IPV4_PUBLIC": "public-ipv4",
}
_OF_SERVICE = describe_values(f"{LINK_LOCAL}/latest/meta-data", _PATHS, ssh_keys=read_indexed_keys)


def _read_metadata(places: Places, log: Log) -> Metadata:
    load_drivers(places)
    device = find_drive(places, LABELS)
    if device is None:
        return _OF_SERVICE.read(places, log)
    files = read_drive_files(places, device, (_EC2_META_DATA, META_DATA))
    ec2, own = (parse_json(files.get(path, b"{}"), path) for path in (_EC2_META_DATA, META_DATA))
    attributes = find_attributes(ec2, _PATHS)
    hostname = find_text(own, "hostname") or attributes["HOSTNAME"]
    return Metadata(attributes | {"HOSTNAME": hostname}, hostname, tuple(find_keys(own)))


PLATFORM = Platform(
    firmware=(("product_name", "OpenStack Nova"), ("product_name", "OpenStack Compute")),
    layer=CLOUD_SOFTWARE,
    config="the user data of a drive labelled `config-2`, or of the metadata service, IPv4 or IPv6",
    fetch_config=fetch_openstack_config,
    needs_network=True,
    addresses={"fe80::a9fe:a9fe": "OpenStack"},
    metadata=MetadataProvider(_read_metadata, _OF_SERVICE.attributes),
)
