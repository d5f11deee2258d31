"""Decompression, hashes and limits, wherever the bytes come from."""

from __future__ import annotations

import gzip
import hashlib
import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from firstboot.config.models import Resource
from firstboot.config.urls import make_data_url
from firstboot.fetch.errors import FetchError

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
SITE = "http://server.example.org"


@pytest.mark.parametrize("function", ["sha256", "sha512"])
def test_a_hash_is_of_what_was_decompressed(outside: Any, resource: Make, function: str) -> None:
    outside.serve(SITE, lambda _: gzip.compress(b"text"))
    digest = hashlib.new(function, b"text").hexdigest().upper()
    assert outside.fetcher().fetch(resource(SITE, "gzip", f"{function}-{digest}")) == b"text"
    with pytest.raises(FetchError, match="which is not the one given"):
        outside.fetcher().fetch(resource(SITE, "gzip", f"{function}-{digest}"), lower_case_hash=True)


def test_one_flipped_bit_is_refused_and_both_hashes_named(outside: Any, resource: Make) -> None:
    outside.serve(SITE, lambda _: b"tezt")
    wanted = hashlib.sha512(b"text").hexdigest()
    with pytest.raises(FetchError, match=f"{SITE} has the hash sha512-{hashlib.sha512(b'tezt').hexdigest()}"):
        outside.fetcher().fetch(resource(SITE, hash=f"sha512-{wanted}"))


def test_gzip_may_have_several_members(outside: Any, resource: Make) -> None:
    outside.serve(SITE, lambda _: gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two"))
    assert outside.fetcher().fetch(resource(SITE, "gzip")) == b"one two"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid gzip"),
        (b"plain text", "not valid gzip"),
        (gzip.compress(b"text" * 99)[:-9], "cut short"),
        (gzip.compress(b"text") + b"rubbish", "not valid gzip"),
        (gzip.compress(b"text")[:-1] + b"\xff", "not valid gzip"),
    ],
)
@pytest.mark.parametrize("inline", [False, True])
def test_damaged_gzip_is_refused(outside: Any, resource: Make, data: bytes, says: str, inline: bool) -> None:
    asked = outside.serve(SITE, lambda _: data)
    with pytest.raises(FetchError, match=says):
        outside.fetcher().fetch(resource(make_data_url(data) if inline else SITE, "gzip"))
    assert len(asked) == (0 if inline else 1)


def test_a_gzip_bomb_ends_at_the_limit_in_little_memory(outside: Any, resource: Make) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    outside.serve(SITE, lambda _: bomb)
    tracemalloc.start()
    with pytest.raises(FetchError, match="decompressed it is larger than 1048576 bytes"):
        outside.fetcher().fetch(resource(SITE, "gzip"), limit=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_no_source_is_no_bytes(outside: Any, resource: Make) -> None:
    assert outside.fetcher().fetch(resource("")) == b""


def test_a_file_that_was_written_before_is_replaced(outside: Any, resource: Make) -> None:
    file = io.BytesIO(b"something longer")
    outside.fetcher().fetch_into(resource("data:,text"), file)
    assert file.getvalue() == b"text"


def test_a_data_url_that_is_none_is_not_repeated(outside: Any, resource: Make) -> None:
    with pytest.raises(FetchError, match="the data URL: ") as caught:
        outside.fetcher().fetch(resource("data:;base64,secret!"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/shadow", "ftp://server/x", "DATA:,x", "/etc/shadow"])
def test_other_schemes_are_refused(outside: Any, resource: Make, url: str) -> None:
    with pytest.raises(FetchError):
        outside.fetcher().fetch(resource(url))
