"""Fetching resources of any scheme that a config may use.

What reads a scheme is imported when the first URL of that scheme is fetched: few configs name any, and importing HTTP
takes longer than all else that a first boot does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from typing import IO, TYPE_CHECKING

from firstboot.config.lazy import import_lazily
from firstboot.fetch.clock import Deadline
from firstboot.fetch.connector import Connector
from firstboot.fetch.errors import FetchError, WrongHash
from firstboot.fetch.settings import MAX_BYTES, RESPONSE_HEADER_SECONDS, TOTAL_SECONDS, Proxies, Settings
from firstboot.fetch.url_text import redact_url

if TYPE_CHECKING:
    from firstboot.config.models import HttpHeader, Ignition, Resource
    from firstboot.fetch import download, unpack
else:
    download = import_lazily("firstboot.fetch.download")
    unpack = import_lazily("firstboot.fetch.unpack")

SCHEMES = {
    "data": "data",
    "http": "http",
    "https": "http",
    "tftp": "tftp",
    "s3": "s3",
    "arn": "s3",
    "gs": "gs",
    "oci": "oci",
    "oci+http": "oci",
}
"""Files of ``schemes`` by the beginnings of the URLs that they read."""


class Fetcher:
    """Fetches resources of any scheme that a config may use.

    Args:
        connector: the way out.
        platform: Ignition's name of the platform; some have credentials for their own stores.
        say: gets a line for whoever reads the log.
        settings: how to fetch.
    """

    def __init__(
        self, connector: Connector, platform: str, say: Callable[[str], None], settings: Settings | None = None
    ) -> None:
        self._connector = connector
        self._platform = platform
        self._say = say
        self.settings = Settings() if settings is None else settings

    def adapt_to(self, ignition: Ignition) -> Fetcher:
        """A fetcher that does what ``ignition.timeouts``, ``.proxy`` and ``.security.tls`` say.

        The certificate authorities are fetched for it, with its timeouts and proxies.

        Raises:
            FetchError: one of them cannot be had or is none.
        """
        timeouts, proxy = ignition.timeouts, ignition.proxy
        settings = Settings(
            _seconds(timeouts.http_response_headers, RESPONSE_HEADER_SECONDS),
            _seconds(timeouts.http_total, TOTAL_SECONDS),
            Proxies(proxy.http_proxy or "", proxy.https_proxy or "", proxy.no_proxy),
        )
        fetcher = Fetcher(self._connector, self._platform, self._say, settings)
        bundles = [fetcher.fetch_authorities(authority) for authority in ignition.security.tls.certificate_authorities]
        return Fetcher(self._connector, self._platform, self._say, settings._replace(authorities=tuple(bundles)))

    def fetch_authorities(self, resource: Resource) -> str:
        """A bundle of certificates, as PEM.

        Raises:
            FetchError
        """
        text: str = import_module("firstboot.fetch.tls").require_certificates(
            self.fetch(resource), redact_url(resource.source or "")
        )
        return text

    def fetch(self, resource: Resource, *, limit: int = MAX_BYTES, lower_case_hash: bool = False) -> bytes:
        """The bytes of a resource; see :meth:`fetch_into`."""
        buffer = io.BytesIO()
        self.fetch_into(resource, buffer, limit=limit, lower_case_hash=lower_case_hash)
        return buffer.getvalue()

    def fetch_url(self, url: str, limit: int) -> bytes:
        """What is at a URL, as it is.

        Raises:
            NotFound, FetchError
        """
        buffer = io.BytesIO()
        self._download(url, (), unpack.Unpacker(buffer, "", limit, ""))
        return buffer.getvalue()

    def fetch_into(
        self, resource: Resource, file: IO[bytes], *, limit: int = MAX_BYTES, lower_case_hash: bool = False
    ) -> None:
        """Put the bytes of a resource, decompressed and verified, into a file. No source is no bytes.

        What the file held is lost; after an error it holds anything.

        Args:
            file: seekable.
            limit: bytes, before and after decompression.
            lower_case_hash: compare the hash as lower-case text, as Ignition does for configs; an upper-case
                hash never matches then.

        Raises:
            NotFound: the server says it is not there.
            FetchError: it cannot be had, is too large, damaged, or not what its hash says.
        """
        url = resource.source or ""
        function, _, wanted = (resource.verification.hash or "").partition("-")
        sink = unpack.Unpacker(file, resource.compression or "", limit, function)
        self._download(url, resource.http_headers, sink)
        try:
            actual = sink.finish() if url else ""
        except FetchError as error:
            raise FetchError(f"{redact_url(url)}: {error}") from None
        if function and actual != (wanted if lower_case_hash else wanted.lower()):
            raise WrongHash(
                f"{redact_url(url)} has the hash {function}-{actual}, which is not the one given",
                "was it changed, or is the hash in the config an old one?",
            )

    def _download(self, url: str, headers: tuple[HttpHeader, ...], sink: unpack.Unpacker) -> None:
        scheme = url.partition(":")[0].lower()
        if not scheme:
            return
        if scheme not in SCHEMES:
            raise FetchError(f"a URL that begins with '{scheme}:' cannot be fetched")
        deadline = Deadline(self._connector.clock, self.settings.total_seconds)
        wanted = download.Download(url, headers, deadline, self._connector, self.settings, self._say, self._platform)
        import_module(f"firstboot.fetch.schemes.{SCHEMES[scheme]}").download(wanted, sink)


def _seconds(value: int | None, default: int) -> float | None:
    """A config's time limit: unset is the default, 0 is none."""
    return default if value is None else value or None
