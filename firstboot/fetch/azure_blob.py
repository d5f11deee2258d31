"""Blobs in Azure storage: with the identity of the machine if it is one of Azure's and has one."""

from __future__ import annotations

import json

from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import FetchError
from firstboot.fetch.targets import split_url
from firstboot.fetch.web import Request, Web

DOMAIN = ".blob.core.windows.net"
_TOKEN = (
    "http://169.254.169.254/metadata/identity/oauth2/token"
    "?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
)
_VERSION = "2020-10-02"  # of the service's interface; bearer tokens need one from 2017-11-09 on
_LIMIT = 1 << 16


def is_blob(url: str) -> bool:
    """Whether a URL is that of a blob."""
    parts = split_url(url)
    return parts.scheme.lower() == "https" and (parts.hostname or "").endswith(DOMAIN)


def find_headers(web: Web, deadline: Deadline) -> dict[str, str]:
    """Headers that say who this machine is; none if it has no identity, and a blob then must be public."""
    try:
        answer = json.loads(web.read(Request(_TOKEN, {"Metadata": "true"}), _LIMIT, deadline))
        return {"Authorization": f"Bearer {answer['access_token']}", "x-ms-version": _VERSION}
    except (FetchError, ValueError, KeyError, TypeError):
        return {}
