"""OpenStack: the config drive if there is one, else the metadata service in its form of EC2's."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import Values, parse_json, text
from firstboot.metadata.kubevirt import keys_of
from firstboot.places import Places
from firstboot.sources.drives import find_drive, load_drivers, read_drive
from firstboot.sources.openstack import LABELS
from firstboot.sources.service import LINK_LOCAL, Service

_EC2, _OPENSTACK = "/ec2/latest/meta-data.json", "/openstack/latest/meta_data.json"
_PATHS = {
    "HOSTNAME": "hostname",
    "INSTANCE_ID": "instance-id",
    "INSTANCE_TYPE": "instance-type",
    "IPV4_LOCAL": "local-ipv4",
    "IPV4_PUBLIC": "public-ipv4",
}


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    load_drivers(places)
    device = find_drive(places, LABELS)
    if device is None:
        values = Values(Service(places, log), f"{LINK_LOCAL}/latest/meta-data")
        attributes = values.named("OPENSTACK", _PATHS)
        return Metadata(attributes, attributes["OPENSTACK_HOSTNAME"], values.indexed_keys())
    found = {each.name.partition(" of ")[0]: each.data for each in read_drive(places, device, (_EC2, _OPENSTACK))}
    ec2, own = (parse_json(found.get(path, b"{}"), path) for path in (_EC2, _OPENSTACK))
    attributes = {f"OPENSTACK_{name}": text(ec2, key) for name, key in _PATHS.items()}
    hostname = text(own, "hostname") or attributes["OPENSTACK_HOSTNAME"]
    return Metadata(attributes | {"OPENSTACK_HOSTNAME": hostname}, hostname, keys_of(own))
