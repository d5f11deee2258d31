"""Akamai (Linode)."""

from __future__ import annotations

from firstboot.log import Log
from firstboot.metadata import Metadata
from firstboot.metadata.asking import numbered, parse_json, text, texts
from firstboot.places import Places
from firstboot.sources.akamai import token_headers
from firstboot.sources.service import LINK_LOCAL, Service

_INSTANCE = {"ID": "id", "HOST_UUID": "host_uuid", "LABEL": "label", "REGION": "region", "TYPE": "type"}


def read(places: Places, log: Log) -> Metadata:
    """The instance's own, its addresses, and the keys of all its users."""
    service = Service(places, log)
    headers = {**token_headers(service), "Accept": "application/json"}
    instance, network, keys = (
        parse_json(service.get(f"{LINK_LOCAL}/v1/{path}", headers), path)
        for path in ("instance", "network", "ssh-keys")
    )
    attributes = {f"AKAMAI_INSTANCE_{name}": text(instance, key) for name, key in _INSTANCE.items()}
    attributes["AKAMAI_INSTANCE_TAGS"] = ":".join(texts(instance, "tags"))
    for kind in ("public", "private", "shared"):
        attributes |= numbered(f"AKAMAI_{kind.upper()}_IPV4", texts(network, "ipv4", kind))
    attributes["AKAMAI_IPV6_SLAAC"] = text(network, "ipv6", "slaac")
    attributes["AKAMAI_IPV6_LINK_LOCAL"] = text(network, "ipv6", "link_local")
    attributes |= numbered("AKAMAI_IPV6_RANGE", texts(network, "ipv6", "ranges"))
    attributes |= numbered("AKAMAI_IPV6_SHARED_RANGE", texts(network, "ipv6", "shared_ranges"))
    users = keys.get("users")
    names = users if isinstance(users, dict) else {}
    return Metadata(attributes, "", tuple(key for name in names for key in texts(keys, "users", name)))
