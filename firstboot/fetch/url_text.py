"""URLs in messages."""

from __future__ import annotations


def redact_url(url: str) -> str:
    """A URL as it may be logged: a query may hold a signature, a data URL a secret."""
    if url.lower().startswith("data:"):
        return "the data URL"
    head, question, _ = url.partition("?")
    scheme, slashes, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}{question and '?...'}"
