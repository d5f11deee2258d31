"""Akamai (Linode): its metadata service, which wants a token first and has the config as base64."""

from __future__ import annotations

from firstboot.fetch.web import Request
from firstboot.log import Log
from firstboot.places import Places
from firstboot.sources import Fetched
from firstboot.sources.service import LINK_LOCAL, Service, from_base64, gunzipped

_TOKEN = Request(f"{LINK_LOCAL}/v1/token", {"Metadata-Token-Expiry-Seconds": "300", "Accept": "text/plain"}, "PUT", b"")
_GZIP = b"\x1f\x8b"


def token_headers(service: Service) -> dict[str, str]:
    """The headers that a question needs.

    Raises:
        FetchError
    """
    token = service.ask(_TOKEN).decode("ascii", "replace").strip()
    return {"Metadata-Token": token, "Accept": "*/*"}


def fetch(places: Places, log: Log) -> Fetched | None:
    """The instance's user data, which may be compressed."""
    service = Service(places, log)
    found = from_base64(service.config(f"{LINK_LOCAL}/v1/user-data", token_headers(service), required=True))
    return gunzipped(found) if found is not None and found.data.startswith(_GZIP) else found
