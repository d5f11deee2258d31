"""Getting bytes from elsewhere: what a config names by a URL.

::

    fetcher = Fetcher(places.reach, platform, log.info)
    fetcher = fetcher.configured(config.ignition)    # its timeouts, proxies and certificate authorities
    data = fetcher.fetch(resource)                   # decompressed, verified
    fetcher.fetch_into(resource, file)               # the same for something large
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from firstboot.fetch.errors import FetchError, NotFound, Temporary, WrongHash
from firstboot.fetch.reach import Clock, Deadline, Reach
from firstboot.fetch.settings import MAX_BYTES, RESPONSE_HEADER_SECONDS, TOTAL_SECONDS, Proxies, Settings

if TYPE_CHECKING:
    from firstboot.config.models import HttpHeader, Ignition, Resource
    from firstboot.fetch.unpack import Unpacker
    from firstboot.fetch.web import Web

__all__ = [
    "MAX_BYTES",
    "Clock",
    "Deadline",
    "FetchError",
    "Fetcher",
    "NotFound",
    "Proxies",
    "Reach",
    "Settings",
    "Temporary",
    "WrongHash",
]


class Fetcher:
    """Fetches resources of any scheme that a config may use.

    Args:
        reach: the way out.
        platform: Ignition's name of the platform; some have credentials for their own stores.
        say: gets a line for whoever reads the log.
        settings: how to fetch.
    """

    def __init__(
        self, reach: Reach, platform: str, say: Callable[[str], None], settings: Settings | None = None
    ) -> None:
        self._reach = reach
        self._platform = platform
        self._say = say
        self.settings = Settings() if settings is None else settings

    def configured(self, ignition: Ignition) -> Fetcher:
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
        fetcher = Fetcher(self._reach, self._platform, self._say, settings)
        bundles = [fetcher.fetch_authorities(each) for each in ignition.security.tls.certificate_authorities]
        return Fetcher(self._reach, self._platform, self._say, settings._replace(authorities=tuple(bundles)))

    def fetch_authorities(self, resource: Resource) -> str:
        """A bundle of certificates, as PEM.

        Raises:
            FetchError
        """
        from firstboot.fetch.tls import require_certificates  # noqa: PLC0415 - only where there are any

        return require_certificates(self.fetch(resource), shown(resource.source or ""))

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
        from firstboot.fetch.unpack import Unpacker  # noqa: PLC0415 - only when something is fetched

        buffer = io.BytesIO()
        self._download(url, (), Unpacker(buffer, "", limit, ""))
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
        from firstboot.fetch.unpack import Unpacker  # noqa: PLC0415 - all of this only when something is fetched

        url = resource.source or ""
        function, _, wanted = (resource.verification.hash or "").partition("-")
        sink = Unpacker(file, resource.compression or "", limit, function)
        self._download(url, resource.http_headers, sink)
        try:
            actual = sink.finish() if url else ""
        except FetchError as error:
            raise FetchError(f"{shown(url)}: {error}") from None
        if function and actual != (wanted if lower_case_hash else wanted.lower()):
            raise WrongHash(
                f"{shown(url)} has the hash {function}-{actual}, which is not the one given",
                "was it changed, or is the hash in the config an old one?",
            )

    def _download(self, url: str, headers: tuple[HttpHeader, ...], sink: Unpacker) -> None:
        scheme = url.partition(":")[0].lower()
        deadline = Deadline(self._reach.clock, self.settings.total_seconds)
        match scheme:
            case "":
                pass
            case "data":
                from firstboot.config.urls import BadUrl, decode_data_url  # noqa: PLC0415

                try:
                    sink.write(decode_data_url(url))
                except BadUrl as error:
                    raise FetchError(f"{shown(url)}: {error}") from None
            case "http" | "https":
                self._download_http(url, headers, sink, deadline)
            case "tftp":
                self._download_tftp(url, sink, deadline)
            case "s3" | "arn":
                from firstboot.fetch import s3  # noqa: PLC0415
                from firstboot.fetch.imds import Imds  # noqa: PLC0415

                web = self.web()
                s3.download(url, sink, web, Imds(web, deadline) if self._platform == "aws" else None, deadline)
            case "gs":
                from firstboot.fetch import gs  # noqa: PLC0415

                gs.download(url, sink, self.web(), deadline, on_gcp=self._platform == "gcp")
            case "oci" | "oci+http":
                from firstboot.fetch import oci  # noqa: PLC0415

                given = [each.value for each in headers if each.name.casefold() == "authorization"]
                oci.download(url, sink, self.web(), deadline, given[0] if given else None)
            case _:
                raise FetchError(f"a URL that begins with '{scheme}:' cannot be fetched")

    def _download_http(self, url: str, own: tuple[HttpHeader, ...], sink: Unpacker, deadline: Deadline) -> None:
        from firstboot.fetch.azure_blob import find_headers, is_blob  # noqa: PLC0415
        from firstboot.fetch.web import Request  # noqa: PLC0415

        web = self.web()
        headers: dict[str, str] = {}
        if self._platform == "azure" and is_blob(url):
            headers = find_headers(web, Deadline(self._reach.clock, self.settings.header_seconds))
        for header in own:
            if header.value is None:
                raise FetchError(f"the HTTP header '{header.name}' has no value", "a merged config removed it?")
            headers[header.name] = header.value
        web.ask(Request(url, headers), sink, deadline)

    def _download_tftp(self, url: str, sink: Unpacker, deadline: Deadline) -> None:
        from firstboot.fetch import tftp  # noqa: PLC0415
        from firstboot.fetch.retry import with_retries  # noqa: PLC0415

        def attempt() -> None:
            sink.restart()
            tftp.download(url, sink, self._reach, deadline)

        with_retries(f"read {url}", attempt, self._reach.clock, deadline, self._say)

    def web(self) -> Web:
        """HTTP with these settings."""
        from firstboot.fetch.web import Web  # noqa: PLC0415

        return Web(self._reach, self.settings, self._say)


def _seconds(value: int | None, default: int) -> float | None:
    """A config's time limit: unset is the default, 0 is none."""
    return default if value is None else value or None


def shown(url: str) -> str:
    """A URL as it may be logged: a query may hold a signature, a data URL a secret."""
    if url.lower().startswith("data:"):
        return "the data URL"
    head, question, _ = url.partition("?")
    scheme, slashes, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}{question and '?...'}"
