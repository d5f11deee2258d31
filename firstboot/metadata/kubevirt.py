"""KubeVirt: the metadata of a drive of either kind."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import document_on_drive, text
from firstboot.places import Places
from firstboot.sources.kubevirt import LABELS


def read(places: Places, log: Log) -> Metadata:
    """All of it."""
    found = document_on_drive(places, log, LABELS, ("/openstack/latest/meta_data.json", "/meta-data"))
    hostname = text(found, "hostname") or text(found, "local-hostname")
    attributes = {
        "KUBEVIRT_HOSTNAME": hostname,
        "KUBEVIRT_INSTANCE_ID": text(found, "instance-id") or text(found, "uuid"),
        "KUBEVIRT_INSTANCE_TYPE": text(found, "instance_type"),
    }
    return Metadata(attributes, hostname, keys_of(found))


def keys_of(document: object) -> tuple[str, ...]:
    """The values of the mapping ``public_keys``."""
    keys = document.get("public_keys") if isinstance(document, dict) else None
    return tuple(key.strip() for key in keys.values() if isinstance(key, str)) if isinstance(keys, dict) else ()
