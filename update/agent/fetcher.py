"""HTTP for updates: what python-tuf reads metadata by, and what downloads a file in as many pieces as it takes.

Nobody that is asked is trusted: sizes, redirects and time are limited, and a download that goes too slowly ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3.exceptions
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from firstboot.config.named_tuple import NamedTuple
from update.errors import UpdateError

CONNECT_SECONDS, READ_SECONDS = 30, 30
MAX_REDIRECTS = 5
METADATA_SECONDS = 120
# A server that is slower than this over so many seconds is one that holds us up.
SLOWEST, SLOW_SECONDS = 1024, 60  # bytes a second
ATTEMPTS = 5  # in a row that bring nothing
# What is read at once, and lost when a connection breaks in the middle of it.
_CHUNK = 16 * 1024


class Limits(NamedTuple):
    """What is borne. ``rate`` in bytes a second, 0 for any; the rest is for tests to shorten."""

    rate: int = 0
    slowest: int = SLOWEST
    slow_seconds: float = SLOW_SECONDS
    metadata_seconds: float = METADATA_SECONDS
    pause: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Fetcher(FetcherInterface):
    """Gets what URLs stand for."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._session = requests.Session()
        self._session.max_redirects = MAX_REDIRECTS
        self._session.headers["User-Agent"] = "os-update"
        # What is transferred is what is hashed.
        self._session.headers["Accept-Encoding"] = "identity"

    def _fetch(self, url: str) -> Iterator[bytes]:
        """What python-tuf asks for: metadata, whose length it limits itself."""
        clock = self.limits.clock
        until = clock() + self.limits.metadata_seconds
        with self._open(url, 0) as response:
            for chunk in read_pieces(response):
                if clock() > until:
                    raise DownloadError(f"{url}: longer than {self.limits.metadata_seconds:.0f} s")
                yield chunk

    @contextmanager
    def _open(self, url: str, offset: int, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        asked = {**(headers or {}), **({"Range": f"bytes={offset}-"} if offset else {})}
        try:
            with self._session.get(
                url, headers=asked, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
            ) as response:
                if url.startswith("https:") and not response.url.startswith("https:"):
                    raise DownloadError(f"{url} leads to {response.url}, which is not encrypted")
                if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                    raise DownloadHTTPError(f"{url}: HTTP {response.status_code}", response.status_code)
                yield response
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {_describe(error)}") from None

    def download(self, url: str, target: Path, size: int) -> None:
        """Have a file of this size; what is there of it already is not asked for again.

        Its content is the caller's to check.

        Raises:
            UpdateError: it cannot be had, is longer than that, or comes too slowly.
        """
        failures = 0
        while True:
            before = target.stat().st_size if target.exists() else 0
            if before == size:
                return
            try:
                self._download_rest(url, target, size, before)
            except DownloadHTTPError as error:
                if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise UpdateError(str(error)) from None
                reason = str(error)
            except DownloadError as error:
                reason = str(error)
            else:
                reason = f"{url}: the connection ended early"
            after = target.stat().st_size if target.exists() else 0
            if after == size:
                return
            failures = 0 if after > before else failures + 1
            if failures == ATTEMPTS:
                raise UpdateError(f"{reason}; {after} of {size} bytes are there")
            self.limits.sleep(self.limits.pause * 2**failures)

    def _download_rest(self, url: str, target: Path, size: int, offset: int) -> None:
        limits = self.limits
        with self._open(url, offset) as response:
            if offset and response.status_code == HTTPStatus.OK:
                offset = 0  # a server that knows no ranges sends all of it
            started, here, window, in_window = limits.clock(), offset, limits.clock(), 0
            try:
                with target.open("r+b" if offset else "wb") as file:
                    file.seek(offset)
                    for chunk in read_pieces(response):
                        if here + len(chunk) > size:
                            file.truncate(0)
                            raise UpdateError(f"{url}: more than the {size} bytes that it should have")
                        file.write(chunk)
                        here += len(chunk)
                        in_window += len(chunk)
                        now = limits.clock()
                        if now - window > limits.slow_seconds:
                            if in_window < limits.slowest * limits.slow_seconds:
                                raise UpdateError(f"{url}: slower than {limits.slowest} bytes a second")
                            window, in_window = now, 0
                        if limits.rate and (ahead := (here - offset) / limits.rate - (now - started)) > 0:
                            limits.sleep(ahead)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                if isinstance(error, requests.RequestException):
                    raise
                raise UpdateError(f"{target} cannot be written: {error.strerror}") from None


def read_pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. Not ``iter_content``: that returns when a piece is full, and a server that sends a byte
    now and then keeps whoever looks at the clock from it for days.

    Raises:
        DownloadError: the connection has broken, or nothing came for :data:`READ_SECONDS`.
    """
    try:
        while piece := response.raw.read1(_CHUNK):
            yield piece
    except urllib3.exceptions.ReadTimeoutError:
        raise DownloadError(f"{response.url}: no answer in time") from None
    except urllib3.exceptions.HTTPError:
        raise DownloadError(f"{response.url}: the server has ended the connection") from None


def _describe(error: requests.RequestException) -> str:
    """Why, without the internals of urllib3."""
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {MAX_REDIRECTS} redirects"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate cannot be verified: {error}"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached, or has ended the connection"
    return str(error)
