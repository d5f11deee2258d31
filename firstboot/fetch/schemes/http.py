"""HTTP and HTTPS; to Azure's blobs with the identity of the machine."""

from __future__ import annotations

from firstboot.fetch.azure_blob import find_headers, is_blob
from firstboot.fetch.clock import Deadline
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError
from firstboot.fetch.unpack import Sink
from firstboot.fetch.web import Request, make_web


def download(download: Download, sink: Sink) -> None:
    """Put the body of the answer into ``sink``.

    Raises:
        NotFound, FetchError
    """
    web = make_web(download)
    headers: dict[str, str] = {}
    if download.platform == "azure" and is_blob(download.url):
        headers = find_headers(web, Deadline(download.connector.clock, download.settings.header_seconds))
    for header in download.headers:
        if header.value is None:
            raise FetchError(f"the HTTP header '{header.name}' has no value", "a merged config removed it?")
        headers[header.name] = header.value
    web.ask(Request(download.url, headers), sink, download.deadline)
