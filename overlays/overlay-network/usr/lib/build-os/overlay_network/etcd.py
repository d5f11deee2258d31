"""Talks to etcd by the JSON gateway of its API, which every etcd 3.4 and newer serves beside gRPC.

Documentation: etcd's dev-guide/api_grpc_gateway. Keys and values are base64 there, numbers of 64 bits are text.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 10.0


class EtcdError(Exception):
    """No endpoint answered, or one refused."""


@dataclass(frozen=True)
class Entry:
    """A key with its value; ``lease`` is 0 if it stays for ever. ``value`` is None if the key was deleted."""

    key: str
    value: str | None
    revision: int
    lease: int = 0


class Etcd:
    """A cluster, by those of its members that are named.

    Args:
        endpoints: like ``https://10.0.0.11:2379``.
        ca, certificate, key: paths of PEM files, or nothing.
    """

    def __init__(self, endpoints: list[str], ca: str = "", certificate: str = "", key: str = "") -> None:
        self._endpoints = endpoints
        self._context: ssl.SSLContext | None = None
        if any(endpoint.startswith("https:") for endpoint in endpoints):
            self._context = ssl.create_default_context(cafile=ca or None)
            if certificate:
                self._context.load_cert_chain(certificate, key or None)

    def read(self, key: str) -> str | None:
        """The value of a key."""
        entries, _revision = self._range({"key": _encode(key)})
        return entries[0].value if entries else None

    def list_below(self, prefix: str) -> tuple[list[Entry], int]:
        """All keys that begin with this, and the revision of the store at which that was so."""
        return self._range({"key": _encode(prefix), "range_end": _encode_end(prefix)})

    def create(self, key: str, value: str, lease: int) -> bool:
        """Put a key that nobody has; false if somebody has it."""
        return self._put_if({"target": "CREATE", "create_revision": "0"}, key, value, lease)

    def replace(self, key: str, revision: int, value: str, lease: int) -> bool:
        """Put a key that is still as it was at this revision; false if it is not."""
        return self._put_if({"target": "MOD", "mod_revision": str(revision)}, key, value, lease)

    def grant(self, seconds: int) -> int:
        """A new lease: keys that are put with it go when it ends."""
        return int(self._ask("/v3/lease/grant", {"TTL": str(seconds)})["ID"])

    def renew(self, lease: int) -> bool:
        """Let a lease last as long again; false if it has ended."""
        answer = self._ask("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self._ask("/v3/lease/revoke", {"ID": str(lease)})

    def watch(self, prefix: str, revision: int, seconds: float) -> Iterator[Entry]:
        """What happens to keys that begin with this, from a revision on, for some seconds.

        Raises:
            EtcdError: the connection broke, or the revision is too old; list again.
        """
        wanted = {"key": _encode(prefix), "range_end": _encode_end(prefix), "start_revision": str(revision)}
        end = time.monotonic() + seconds
        connection, response = self._open("/v3/watch", {"create_request": wanted})
        try:
            while (left := end - time.monotonic()) > 0:
                if connection.sock is not None:
                    connection.sock.settimeout(max(left, 0.1))
                line = response.readline()
                if not line:
                    raise EtcdError("the watch ended")
                yield from _decode_events(line)
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EtcdError(f"the watch broke: {error}") from error
        finally:
            connection.close()

    def _range(self, request: dict[str, str]) -> tuple[list[Entry], int]:
        answer = self._ask("/v3/kv/range", request)
        entries = [_decode_entry(pair) for pair in answer.get("kvs", ())]
        return entries, int(answer["header"]["revision"])

    def _put_if(self, condition: dict[str, str], key: str, value: str, lease: int) -> bool:
        put = {"key": _encode(key), "value": _encode(value), "lease": str(lease)}
        compare = {"key": _encode(key), "result": "EQUAL", **condition}
        answer = self._ask("/v3/kv/txn", {"compare": [compare], "success": [{"request_put": put}]})
        return bool(answer.get("succeeded", False))

    def _ask(self, path: str, request: object) -> dict[str, Any]:
        connection, response = self._open(path, request)
        try:
            # Of a stream (keepalive) the first line is the answer to the one thing that was asked.
            answer = json.loads(response.readline())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EtcdError(f"{path}: {error}") from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise EtcdError(f"{path}: the answer is no JSON object")
        return answer

    def _open(self, path: str, request: object) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        problems = []
        for endpoint in list(self._endpoints):
            try:
                connection, response = self._open_at(endpoint, path, request)
            except (OSError, http.client.HTTPException) as error:
                problems.append(f"{endpoint}: {error}")
            else:
                if response.status == 200:
                    return connection, response
                problems.append(f"{endpoint}: {response.status} {response.read(500).decode(errors='replace').strip()}")
                connection.close()
            # Whoever answers is asked first the next time.
            self._endpoints.append(self._endpoints.pop(self._endpoints.index(endpoint)))
        raise EtcdError("; ".join(problems) or "no endpoint is named")

    def _open_at(
        self, endpoint: str, path: str, request: object
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        place = urlsplit(endpoint)
        connection: http.client.HTTPConnection
        if place.scheme == "https":
            connection = http.client.HTTPSConnection(
                place.hostname or "", place.port or 2379, timeout=TIMEOUT, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(place.hostname or "", place.port or 2379, timeout=TIMEOUT)
        try:
            connection.request("POST", path, json.dumps(request), {"Content-Type": "application/json"})
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise


def _decode_events(line: bytes) -> Iterator[Entry]:
    document = json.loads(line)
    if "error" in document:
        raise EtcdError(str(document["error"].get("message", document["error"])))
    result = document.get("result", {})
    if result.get("canceled"):
        raise EtcdError(result.get("cancel_reason") or "etcd ended the watch")
    for event in result.get("events", ()):
        entry = _decode_entry(event["kv"])
        yield Entry(entry.key, None, entry.revision) if event.get("type") == "DELETE" else entry


def _decode_entry(pair: dict[str, str]) -> Entry:
    value = base64.b64decode(pair.get("value", "")).decode(errors="replace")
    key = base64.b64decode(pair["key"]).decode(errors="replace")
    return Entry(key, value, int(pair.get("mod_revision", 0)), int(pair.get("lease", 0)))


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _encode_end(prefix: str) -> str:
    raw = prefix.encode()
    return base64.b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()
