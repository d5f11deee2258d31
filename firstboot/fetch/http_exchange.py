"""One HTTP/1.1 request and its response over a connection that exists (RFC 9112)."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

from firstboot.fetch.errors import FetchError, NotFound, Temporary
from firstboot.fetch.settings import ACCEPT, USER_AGENT
from firstboot.fetch.targets import Target
from firstboot.fetch.timed_socket import TimedSocket

if TYPE_CHECKING:
    import socket

_TOO_MANY_REQUESTS = 429
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def make_request_headers(target: Target, own: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    """The headers of a request: Ignition's, and ``own`` instead of them or besides."""
    headers = {"Host": target.authority, "User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": "identity"}
    if target.userinfo:
        headers["Authorization"] = encode_basic(target.userinfo)
    if body is not None:
        headers["Content-Length"] = str(len(body))
    replaced = {name.lower() for name in own}
    return {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(own)


def encode_basic(userinfo: str) -> str:
    """The value of an ``Authorization`` header from ``USER:PASSWORD`` as it stands in a URL (RFC 7617)."""
    return "Basic " + base64.b64encode(unquote_to_bytes(userinfo)).decode("ascii")


def send(connection: TimedSocket, line: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
    """Send a request. One connection serves one request: first boot asks each server once or twice.

    Raises:
        FetchError: a header could not be sent as it is.
        OSError
    """
    lines = [line]
    for name, value in {**headers, "Connection": "close"}.items():
        if not _NAME.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            raise FetchError(f"the HTTP header {name!r} has a name or a value that cannot be sent")
        lines.append(f"{name}: {value}")
    connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8") + (body or b""))


def receive(connection: TimedSocket, method: str) -> http.client.HTTPResponse:
    """The response as far as the end of its headers.

    Raises:
        http.client.HTTPException, OSError
    """
    response = http.client.HTTPResponse(cast("socket.socket", connection), method=method)
    response.begin()
    return response


def check_status(response: http.client.HTTPResponse, retried: tuple[int, ...]) -> None:
    """Judge a status: below 300 is an answer, 500 and more or 429 may pass, everything else is final.

    Raises:
        Temporary, NotFound, FetchError
    """
    status = response.status
    if 200 <= status < 300:
        return
    what = f"the server answers {status} {response.reason}".rstrip()
    if status >= 500 or status == _TOO_MANY_REQUESTS or status in retried:
        after = response.headers.get("Retry-After", "")
        raise Temporary(what, wait=float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0)
    if status == 404:
        raise NotFound(what)
    raise FetchError(what)
