"""Asking a platform's metadata service for the machine's config."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping

from firstboot.config.text import MAX_BYTES
from firstboot.fetch import Deadline, Fetcher, NotFound, Settings
from firstboot.fetch.settings import PROVIDER_SECONDS
from firstboot.fetch.web import Connect, Request, Web
from firstboot.log import Log
from firstboot.network import bring_up
from firstboot.places import Places
from firstboot.sources import Fetched, SourceError

LINK_LOCAL = "http://169.254.169.254"


class Service:
    """A metadata service. All that is asked of it takes at most :data:`PROVIDER_SECONDS`.

    Args:
        seconds: another limit.
        network: whether it is reached through the network, which then is brought up.
    """

    def __init__(self, places: Places, log: Log, *, seconds: float = PROVIDER_SECONDS, network: bool = True) -> None:
        if network:
            bring_up(places, log)
        self.deadline = Deadline(places.reach.clock, seconds)
        self.web: Web = Fetcher(places.reach, "", log.info, Settings()).web()

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, retried: tuple[int, ...] = ()) -> bytes:
        """What is at a URL.

        Args:
            retried: statuses that mean "not yet" here.

        Raises:
            NotFound, FetchError
        """
        return self.ask(Request(url, headers or {}, retried=retried))

    def ask(self, request: Request) -> bytes:
        """The answer to a request.

        Raises:
            NotFound, FetchError
        """
        return self.web.read(request, MAX_BYTES, self.deadline)

    def config(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        retried: tuple[int, ...] = (),
        required: bool = False,
        connect: Connect | None = None,
    ) -> Fetched | None:
        """The config at a URL; ``None`` if there is none.

        Args:
            required: here 404 does not mean that there is none, but that something is wrong.

        Raises:
            FetchError
        """
        try:
            return Fetched(url, self.ask(Request(url, headers or {}, retried=retried, connect=connect)))
        except NotFound:
            if required:
                raise
            return None


def from_base64(found: Fetched | None) -> Fetched | None:
    """A config that was given as base64.

    Raises:
        SourceError: it is none.
    """
    if found is None:
        return None
    try:
        return Fetched(found.name, base64.b64decode(b"".join(found.data.split()), validate=True))
    except binascii.Error:
        raise SourceError(f"{found.name} is not base64", "this platform wants the config encoded") from None


def gunzipped(found: Fetched) -> Fetched:
    """A config that was given compressed.

    Raises:
        SourceError: it is not gzip data, or too large.
    """
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = unzip.decompress(found.data, MAX_BYTES + 1)
    except zlib.error:
        raise SourceError(f"{found.name} is not valid gzip data") from None
    if len(data) > MAX_BYTES:
        raise SourceError(f"{found.name} is larger than {MAX_BYTES} bytes when decompressed")
    if not unzip.eof:
        raise SourceError(f"the gzip data of {found.name} is cut short")
    return Fetched(found.name, data)
