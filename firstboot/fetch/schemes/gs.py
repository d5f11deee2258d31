"""Objects in Google Cloud Storage: ``gs://BUCKET/OBJECT``, through its JSON API."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

from firstboot.fetch.clock import Deadline
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError, NotFound
from firstboot.fetch.targets import split_url
from firstboot.fetch.unpack import Sink
from firstboot.fetch.web import Request, Web, make_web

METADATA = "http://169.254.169.254/computeMetadata/v1"
METADATA_HEADERS = {"Metadata-Flavor": "Google"}
_LIMIT = 1 << 16


def download(download: Download, sink: Sink) -> None:
    """Put an object into ``sink``: with the instance's service account if it has one, else as anybody may.

    Raises:
        NotFound, FetchError
    """
    url, deadline, web = download.url, download.deadline, make_web(download)
    parts = split_url(url)
    name = unquote(parts.path).removeprefix("/")
    if not parts.netloc or not name:
        raise FetchError(f"{url} names no object", "an object is gs://BUCKET/OBJECT")
    target = (
        f"https://storage.googleapis.com/storage/v1/b/{quote(parts.netloc, safe='')}/o/{quote(name, safe='')}?alt=media"
    )
    token = _find_token(web, deadline) if download.platform == "gcp" else None
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        web.ask(Request(target, headers), sink, deadline)
    except NotFound:
        raise NotFound(f"{url}: there is no such object in Google Cloud Storage") from None


def _find_token(web: Web, deadline: Deadline) -> str | None:
    """An access token of the instance's service account, if it has one."""
    request = Request(f"{METADATA}/instance/service-accounts/default/token", METADATA_HEADERS)
    try:
        return str(json.loads(web.read(request, _LIMIT, deadline))["access_token"])
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError):
        raise FetchError("the metadata service gives no usable token for this instance's service account") from None
