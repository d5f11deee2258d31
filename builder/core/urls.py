"""URLs in messages."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def redact_url(url: str) -> str:
    """The URL without its user name and password, for messages and logs."""
    if "@" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return "(not a URL)"
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
