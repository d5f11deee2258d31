"""AWS Signature Version 4 for requests to S3 (AWS General Reference, "Signing AWS API requests")."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, unquote

from firstboot.fetch.imds import Credentials
from firstboot.fetch.targets import Target

_ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def sign_headers(
    target: Target, region: str, credentials: Credentials, seconds: float, extra: dict[str, str] | None = None
) -> dict[str, str]:
    """The headers that sign a GET of ``target`` for S3 in ``region``.

    Args:
        seconds: the time, since 1970; the service refuses what differs from its own by 15 minutes.
        extra: more headers to sign and send.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    headers = {**(extra or {}), "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": moment}
    if credentials.token:
        headers["x-amz-security-token"] = credentials.token
    lower = {name.lower(): value.strip() for name, value in headers.items()} | {"host": target.authority}
    names = ";".join(sorted(lower))
    path, _, query = target.path.partition("?")
    canonical = "\n".join(
        [
            "GET",
            path,
            _canonical_query(query),
            *(f"{name}:{lower[name]}" for name in sorted(lower)),
            "",
            names,
            EMPTY_SHA256,
        ]
    )
    to_sign = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (moment[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers


def _canonical_query(query: str) -> str:
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    encoded = [(escape(unquote(name)), escape(unquote(value))) for name, value in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def escape(text: str, safe: str = "") -> str:
    """Escape everything but RFC 3986's unreserved characters, as signing wants it."""
    return quote(text, safe=f"{safe}-._~")
