"""HTTP as a build needs it: bounded, resumable, patient with a busy mirror and impatient with a dead one.

What arrives is never trusted here; callers compare it with a hash or a signature. Still nothing is read
beyond the size that was promised, a redirect can only lead to http(s) and never from https to http, and a
server that sends one byte a minute is given up.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from builder.core.errors import SourceError
from builder.debian.mirror import redact_url

CHUNK = 1 << 18
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long a transfer may take before it counts as failed. Times in seconds, rates in bytes a second.

    ``rounds`` is how often all mirrors are tried when the failures look temporary; the pause between rounds
    doubles.
    """

    connect: float = 10.0
    read: float = 30.0
    window: float = 20.0
    minimum_rate: float = 2048.0
    rounds: int = 4
    pause: float = 0.5
    redirects: int = 10


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


class Stopped(Exception):
    """The transfer was abandoned because the whole run is."""


@dataclass(frozen=True)
class Answer:
    """A response whose body has not been read: the offset at which the body starts, and its pieces."""

    offset: int
    pieces: Iterator[bytes]


class Client:
    """Makes requests; safe to share between threads (each has connections of its own)."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.stop = threading.Event()
        self._local = threading.local()
        # Servers that failed, not for lack of a file, and have not answered since. They are asked after the others.
        self._ailing: set[str] = set()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            # A mirror's packages are compressed already; a second layer would make sizes and ranges lie.
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "build-os"})
        return session

    def close(self) -> None:
        """Close the calling thread's connections."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None:
            session.close()
            self._local.session = None

    @contextmanager
    def get(self, url: str, *, maximum: int, offset: int = 0) -> Iterator[Answer]:
        """Ask for a file from ``offset`` on; at most ``maximum`` bytes in all, the first ``offset`` included.

        Raises:
            TransferError: no useful answer, or one that is larger than ``maximum``.
            Stopped: :attr:`stop` was set.
        """
        try:
            response = self._follow(url, offset)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise TransferError(_reason(error), temporary=_is_temporary(error)) from error
        try:
            start = _body_offset(response, offset)
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and start + int(length) > maximum:
                raise TransferError(f"the server sends {start + int(length)} bytes, at most {maximum} were expected")
            yield Answer(start, self._pieces(response, maximum - start))
        finally:
            response.close()

    def _follow(self, url: str, offset: int) -> requests.Response:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        for _ in range(self.patience.redirects + 1):
            if self.stop.is_set():
                raise Stopped
            response = self._session().get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect, self.patience.read),
            )
            if response.status_code not in (301, 302, 303, 307, 308) or "Location" not in response.headers:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            _check_redirect(url, target)
            url = target
        raise TransferError(f"more than {self.patience.redirects} redirects")

    def _pieces(self, response: requests.Response, limit: int) -> Iterator[bytes]:
        received = 0
        since, counted = time.monotonic(), 0
        while True:
            if self.stop.is_set():
                raise Stopped
            try:
                # read1 returns what has arrived; read would block until a whole piece has dripped in.
                piece = response.raw.read1(CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                raise TransferError(_reason(error), temporary=True) from error
            if not piece:
                return
            received += len(piece)
            if received > limit:
                raise TransferError(f"the server sends more than the {limit} bytes that were expected")
            now = time.monotonic()
            if now - since >= self.patience.window:
                if (received - counted) / (now - since) < self.patience.minimum_rate:
                    rate = (received - counted) / (now - since)
                    raise TransferError(f"too slow: {rate:.0f} bytes a second", temporary=True)
                since, counted = now, received
            yield piece

    def try_each(self, urls: Sequence[str], what: str, attempt: Callable[[str], T], hint: str) -> T:
        """``attempt`` with one URL after the other until one works; temporary failures are tried again.

        Servers that have just failed come last: a mirror that is down costs its timeout once, not for every file.

        Raises:
            SourceError: none worked. Its details say what each answered.
        """
        failures: dict[str, TransferError] = {}
        left = list(dict.fromkeys(urls))
        for turn in range(self.patience.rounds):
            if turn and self.stop.wait(self._pause(turn, [failures[url] for url in left])):
                raise Stopped
            for url in sorted(left, key=lambda url: urlsplit(url).netloc in self._ailing):
                server = urlsplit(url).netloc
                try:
                    answer = attempt(url)
                except TransferError as error:
                    failures[url] = error
                    if error.temporary:
                        self._ailing.add(server)
                    if not error.temporary:
                        left.remove(url)
                else:
                    self._ailing.discard(server)
                    return answer
            if not left:
                break
        raise SourceError(
            f"cannot download {what}",
            details=[f"{redact_url(url)}: {error}" for url, error in failures.items()],
            hint=hint
            if all(error.missing for error in failures.values())
            else "is the mirror up? try again, or another mirror",
        )

    def _pause(self, turn: int, failures: Sequence[TransferError]) -> float:
        """How long to wait before a round: longer each time, and as long as the most lenient server asked."""
        asked = min(error.after for error in failures)
        return max(self.patience.pause * (1 << (turn - 1)), min(asked, self.patience.read))

    def read(self, urls: Sequence[str], what: str, *, maximum: int, hint: str) -> bytes:
        """A small file, whole.

        Raises:
            SourceError: it cannot be had, or is larger than ``maximum`` bytes.
        """

        def attempt(url: str) -> bytes:
            with self.get(url, maximum=maximum) as answer:
                return b"".join(answer.pieces)

        return self.try_each(urls, what, attempt, hint)


def _body_offset(response: requests.Response, asked: int) -> int:
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
    reason = f"{status} {response.reason or ''}".strip()
    after = response.headers.get("Retry-After", "")
    raise TransferError(
        reason,
        temporary=status in (408, 429) or status >= 500,
        missing=status in (403, 404, 410),
        after=float(after) if after.isdecimal() and len(after) < 9 else 0.0,
    )


class RangeRefused(TransferError):
    """The server has no bytes from that offset on: what was kept of the file is of no use."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the file there has no more than {offset} bytes", temporary=True)


def _check_redirect(source: str, target: str) -> None:
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise TransferError(f"redirected to {redact_url(target)[:200]!r}, which is not http or https")
    if urlsplit(source).scheme == "https" and scheme == "http":
        raise TransferError(f"redirected from https to {redact_url(target)[:200]}, which is not encrypted")


def _is_temporary(error: Exception) -> bool:
    permanent = (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.SSLError,
        ValueError,
    )
    return not isinstance(error, permanent)


def _reason(error: Exception) -> str:
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
