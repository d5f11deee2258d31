"""Akamai (Linode): its metadata service wants a token first, and has the config as base64."""

from __future__ import annotations

from collections.abc import Mapping

from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched, Platform
from firstboot.platforms.shared.encodings import decompress_gzip
from firstboot.platforms.shared.metadata import (
    Metadata,
    MetadataProvider,
    find_attributes,
    find_texts,
    make_numbered,
    parse_json,
)
from firstboot.platforms.shared.metadata_service import LINK_LOCAL, Service, UserData

_TOKEN = Request(f"{LINK_LOCAL}/v1/token", {"Metadata-Token-Expiry-Seconds": "300", "Accept": "text/plain"}, "PUT", b"")
_GZIP = b"\x1f\x8b"
_INSTANCE = {
    "INSTANCE_ID": "id",
    "INSTANCE_HOST_UUID": "host_uuid",
    "INSTANCE_LABEL": "label",
    "INSTANCE_REGION": "region",
    "INSTANCE_TYPE": "type",
}
_IPV6 = {"IPV6_SLAAC": "ipv6.slaac", "IPV6_LINK_LOCAL": "ipv6.link_local"}
_LISTS = {
    "PUBLIC_IPV4": "ipv4.public",
    "PRIVATE_IPV4": "ipv4.private",
    "SHARED_IPV4": "ipv4.shared",
    "IPV6_RANGE": "ipv6.ranges",
    "IPV6_SHARED_RANGE": "ipv6.shared_ranges",
}


def _log_in(service: Service) -> Mapping[str, str]:
    return {"Metadata-Token": service.send(_TOKEN).decode("ascii", "replace").strip()}


_USER_DATA = UserData(f"{LINK_LOCAL}/v1/user-data", {"Accept": "*/*"}, log_in=_log_in, is_required=True, in_base64=True)


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The instance's user data, which may be compressed."""
    fetched = _USER_DATA.fetch(places, log)
    return decompress_gzip(fetched) if fetched is not None and fetched.data.startswith(_GZIP) else fetched


def _read_metadata(places: Places, log: Log) -> Metadata:
    """The instance's own, its addresses, and the keys of all its users."""
    service = Service(places, log)
    headers = {**_log_in(service), "Accept": "application/json"}
    instance, network, keys = (
        parse_json(service.get(f"{LINK_LOCAL}/v1/{path}", headers), path)
        for path in ("instance", "network", "ssh-keys")
    )
    attributes = find_attributes(instance, _INSTANCE) | find_attributes(network, _IPV6)
    attributes["INSTANCE_TAGS"] = ":".join(find_texts(instance, "tags"))
    for name, path in _LISTS.items():
        attributes |= make_numbered(name, find_texts(network, path))
    users = keys.get("users")
    lists = users.values() if isinstance(users, dict) else ()
    return Metadata(attributes, "", tuple(key for user in lists for key in find_texts({"keys": user}, "keys")))


PLATFORM = Platform(
    firmware=(("sys_vendor", "Akamai"), ("sys_vendor", "Linode")),
    config="user data of the metadata service, base64, perhaps gzip; a token is got first",
    fetch_config=_fetch_config,
    needs_network=True,
    metadata=MetadataProvider(
        _read_metadata,
        (*_INSTANCE, "INSTANCE_TAGS", *_IPV6, *(f"{name}_n" for name in _LISTS)),
        has_hostname=False,
    ),
)
