"""URLs and unit files, judged as the real Ignition judges them."""

from __future__ import annotations

import pytest

from firstboot.config.unit_text import BadUnit, parse_options, parse_sections
from firstboot.config.urls import BadUrl, check_url, decode_data_url

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:,", b""),
        ("data:,a%20b+c", b"a b+c"),
        ("data:text/plain;charset=utf-8,x%C3%A9", b"x\xc3\xa9"),
        ('data:text/plain;a="x;y",z', b"z"),
        ("data:;base64,AAEC/w==", b"\0\1\2\xff"),
        ("data:application/octet-stream;base64,aGk=", b"hi"),
    ],
)
def test_data_urls_are_decoded(url: str, data: bytes) -> None:
    assert decode_data_url(url) == data
    check_url(url, (3, 0))


@pytest.mark.parametrize(
    "url",
    [
        "DATA:,x",
        "data:x",
        "data:text,x",
        "data:;foo,x",
        "data:;base64,aGk",
        "data:;base64,aGk=!",
        "data:,a b",
        "data:,é",
        "data:,%4",
        'data:,"x"',
    ],
)
def test_bad_data_urls_are_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        decode_data_url(url)


@pytest.mark.parametrize(
    ("url", "version", "good"),
    [
        ("https://user:pw@h:8/a?q=1#f", (3, 0), True),
        ("HTTP://EXAMPLE.COM/A b", (3, 0), True),
        ("http://[::1]:80/x", (3, 0), True),
        ("http://[::1/x", (3, 0), False),
        ("http://h:x/", (3, 0), False),
        ("http://e.com/%zz", (3, 0), False),
        ("http s://e.com", (3, 0), False),
        (":foo", (3, 0), False),
        ("/etc/passwd", (3, 0), False),
        ("ftp://h/a", (3, 6), False),
        ("tftp://h/a", (3, 0), True),
        ("gs://b/o", (3, 1), False),
        ("gs://b/o", (3, 2), True),
        ("s3://b/k?versionId=", (3, 0), False),
        ("s3://b/k?versionId=1", (3, 0), True),
        ("arn:aws:s3:::b/k", (3, 3), False),
        ("arn:aws:s3:::b/k", (3, 4), True),
        ("arn:aws:s3:::b", (3, 4), False),
        ("arn:aws:s3:::b/", (3, 4), True),
        ("arn:aws:s3:::/k", (3, 4), False),
        ("arn:aws:s3:r:1:accesspoint/n/object/k", (3, 4), True),
        ("arn:aws:s3:r:1:bucket/k", (3, 4), False),
        ("data:,a\nb", (3, 0), False),
        ("", (3, 0), True),
    ],
)
def test_urls_are_judged_by_version(url: str, version: tuple[int, int], good: bool) -> None:
    if good:
        check_url(url, version)
    else:
        with pytest.raises(BadUrl):
            check_url(url, version)


def test_sections_count_only_if_they_hold_an_option() -> None:
    assert parse_sections("[Unit]\nA=b\n[Install]\n[Service]\n# c\nB=\n") == ["Unit", "Service"]


def test_values_may_go_on_in_the_next_line() -> None:
    assert parse_options("[S]\nA=1 \\\n 2\nB=3") == [("S", "A", "1 \\\n 2"), ("S", "B", "3")]


@pytest.mark.parametrize("text", ["", "garbage", "Foo=bar\n", "\ufeff[Unit]\nA=b\n", "[]\nA=b\n", "[U]\r\nA=b\r\n"])
def test_what_comes_before_the_first_section_is_skipped(text: str) -> None:
    parse_sections(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[Unit\nA=b\n", 1),
        ("[Unit]\nFoo\n", 2),
        ("[Unit]\nA=b\n\nFoo", 4),
        ("[Unit]x\nA=b\n", 1),
        ("[Unit]\nA=" + "x" * 2048 + "\n", 2),
        ("[Unit]\nA=b\n[Service", 3),
    ],
)
def test_what_systemd_would_misread_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(BadUnit) as caught:
        parse_sections(text)
    assert caught.value.line == line
