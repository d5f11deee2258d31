"""Data URLs (RFC 2397)."""

from __future__ import annotations

from firstboot.config.urls import BadUrl, decode_data_url
from firstboot.fetch.download import Download
from firstboot.fetch.errors import FetchError
from firstboot.fetch.unpack import Sink
from firstboot.fetch.url_text import redact_url


def download(download: Download, sink: Sink) -> None:
    """Put what the URL holds into ``sink``.

    Raises:
        FetchError: it is no data URL.
    """
    try:
        sink.write(decode_data_url(download.url))
    except BadUrl as error:
        raise FetchError(f"{redact_url(download.url)}: {error}") from None
