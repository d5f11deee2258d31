"""Downloads from mirrors: one server after the other, over connections that are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from builder.core.errors import SourceError
from builder.core.http import (
    REDIRECTS,
    Patience,
    Stopped,
    TransferError,
    check_redirect,
    describe_failure,
    find_body_offset,
    is_temporary_failure,
    read_pieces,
)
from builder.core.urls import redact_url

T = TypeVar("T")


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
            raise TransferError(describe_failure(error), temporary=is_temporary_failure(error)) from error
        try:
            start = find_body_offset(response, offset)
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and start + int(length) > maximum:
                raise TransferError(f"the server sends {start + int(length)} bytes, at most {maximum} were expected")
            yield Answer(start, read_pieces(response, maximum - start, self.patience, self.stop))
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
            if response.status_code not in REDIRECTS or "Location" not in response.headers:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            check_redirect(url, target)
            url = target
        raise TransferError(f"more than {self.patience.redirects} redirects")

    def try_each(self, urls: Sequence[str], what: str, attempt: Callable[[str], T], hint: str) -> T:
        """``attempt`` with one URL after the other until one works; temporary failures are tried again.

        Servers that have just failed come last: a mirror that is down costs its timeout once, not for every file.

        Raises:
            SourceError: none worked. Its details say what each answered.
        """
        failures: dict[str, TransferError] = {}
        left = list(dict.fromkeys(urls))
        for turn in range(self.patience.rounds):
            if turn and self.stop.wait(self.patience.choose_pause(turn, min(failures[url].after for url in left))):
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

    def read(self, urls: Sequence[str], what: str, *, maximum: int, hint: str) -> bytes:
        """A small file, whole.

        Raises:
            SourceError: it cannot be had, or is larger than ``maximum`` bytes.
        """

        def attempt(url: str) -> bytes:
            with self.get(url, maximum=maximum) as answer:
                return b"".join(answer.pieces)

        return self.try_each(urls, what, attempt, hint)
