"""Answers of a name server that knows IPv4 addresses and nothing else (RFC 1035)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

A, ANY, IN = 1, 255, 1
NO_SUCH_NAME = 3
ANSWER = 0x8580  # a response, authoritative; recursion is welcome
SECONDS = 60


def answer_query(query: bytes, address_of: Callable[[str], IPv4Address | None]) -> bytes:
    """Answer a query of one question.

    Args:
        address_of: knows addresses by names in lower case, without a dot at the end.

    Raises:
        IndexError, struct.error: the query is cut short.
    """
    labels, end = [], 12
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].decode("ascii", errors="replace").lower())
        end += 1 + query[end]
    kind, family = struct.unpack_from("!HH", query, end + 1)
    address = address_of(".".join(labels)) if family == IN else None
    flags = ANSWER | (NO_SUCH_NAME if address is None else 0)
    question = query[12 : end + 5]
    if address is None or kind not in (A, ANY):
        return query[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, 0) + question
    record = b"\xc0\x0c" + struct.pack("!HHIH", A, IN, SECONDS, 4) + address.packed
    return query[:2] + struct.pack("!HHHHH", flags, 1, 1, 0, 0) + question + record
