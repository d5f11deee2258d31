"""What every download of a build has in common: bounded, patient with a busy server and impatient with a dead one.

What arrives is never trusted here; callers compare it with a hash or a signature. Still nothing is read beyond the size
that was promised, a redirect can only lead to http(s) and never from https to http, and a server that sends one byte a
minute is given up.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
import urllib3

from builder.core.urls import redact_url

CHUNK = 1 << 18
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Patience:
    """How long a transfer may take before it counts as failed. Times in seconds, rates in bytes a second.

    ``rounds`` is how often all servers are tried when the failures look temporary; the pause between rounds
    doubles.
    """

    connect: float = 10.0
    read: float = 30.0
    window: float = 20.0
    minimum_rate: float = 2048.0
    rounds: int = 4
    pause: float = 0.5
    redirects: int = 10

    def choose_pause(self, turn: int, asked: float) -> float:
        """How long to wait before a round: longer each time, and as long as the server asked, within reason."""
        return max(self.pause * (1 << (turn - 1)), min(asked, self.read))


class TransferError(Exception):
    """One attempt failed.

    Attributes:
        temporary: it may work later; ``after`` so many seconds if the server said so.
        missing: the server does not have it.
    """

    def __init__(self, reason: str, *, temporary: bool = False, missing: bool = False, after: float = 0.0) -> None:
        super().__init__(reason)
        self.temporary = temporary
        self.missing = missing
        self.after = after


class RangeRefused(TransferError):
    """The server has no bytes from that offset on: what was kept of the file is of no use."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the file there has no more than {offset} bytes", temporary=True)


class Stopped(Exception):
    """The transfer was abandoned because the whole run is."""


def read_pieces(response: requests.Response, limit: int, patience: Patience, stop: threading.Event) -> Iterator[bytes]:
    """The body as it comes; not decoded, whatever the server says of its encoding.

    Raises:
        TransferError: it is cut, too slow, or longer than ``limit`` bytes.
        Stopped: ``stop`` was set.
    """
    received = 0
    since, counted = time.monotonic(), 0
    while True:
        if stop.is_set():
            raise Stopped
        try:
            # read1 returns what has arrived; read would block until a whole piece has dripped in.
            piece = response.raw.read1(CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise TransferError(describe_failure(error), temporary=True) from error
        if not piece:
            return
        received += len(piece)
        if received > limit:
            raise TransferError(f"the server sends more than the {limit} bytes that were expected")
        now = time.monotonic()
        if now - since >= patience.window:
            if (received - counted) / (now - since) < patience.minimum_rate:
                rate = (received - counted) / (now - since)
                raise TransferError(f"too slow: {rate:.0f} bytes a second", temporary=True)
            since, counted = now, received
        yield piece


def find_body_offset(response: requests.Response, asked: int) -> int:
    """From which byte of the file on the body is, where it was asked for from ``asked`` on.

    Raises:
        TransferError: the server sends no file, or other bytes.
    """
    status = response.status_code
    if status == 200:
        return 0
    if status == 206 and asked:
        begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if begin == str(asked):
            return asked
        raise TransferError(f"asked for bytes from {asked}, the server sends others")
    if status == 416 and asked:
        raise RangeRefused(asked)
    raise TransferError(
        f"{status} {response.reason or ''}".strip(),
        temporary=is_temporary_status(status),
        missing=status in (403, 404, 410),
        after=read_retry_after(response),
    )


def is_temporary_status(status: int) -> bool:
    """Whether the same request may get another answer later."""
    return status in (408, 429) or status >= 500


def read_retry_after(response: requests.Response) -> float:
    """How many seconds the server asks us to wait; 0 if it does not."""
    after = response.headers.get("Retry-After", "")
    return float(after) if after.isdecimal() and len(after) < 9 else 0.0


def check_redirect(source: str, target: str) -> None:
    """Whether a redirect may be followed.

    Raises:
        TransferError: it leads out of http(s), or from https to http.
    """
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise TransferError(f"redirected to {redact_url(target)[:200]!r}, which is not http or https")
    if urlsplit(source).scheme == "https" and scheme == "http":
        raise TransferError(f"redirected from https to {redact_url(target)[:200]}, which is not encrypted")


def is_temporary_failure(error: Exception) -> bool:
    """Whether a request that got no answer may get one later."""
    permanent = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.SSLError,
        ValueError,
    )
    return not isinstance(error, permanent)


def describe_failure(error: Exception) -> str:
    """The innermost cause in one line; urllib3 wraps it three times and adds object addresses."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(error, (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
        return "the server went silent"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the server does not answer"
    if isinstance(cause, http.client.IncompleteRead):  # urllib3's own is derived from it
        return "the connection was cut"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return text.splitlines()[0][:200] if text else type(cause).__name__
