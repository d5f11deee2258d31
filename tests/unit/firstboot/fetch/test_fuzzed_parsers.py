"""Whatever comes from outside: parsers answer or refuse, and nothing else."""

from __future__ import annotations

import contextlib
import io
import shlex
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.fetch.errors import FetchError
from firstboot.fetch.proxy import is_proxied
from firstboot.fetch.schemes.s3 import parse_s3
from firstboot.fetch.targets import follow_redirect, is_link_local, parse_url
from firstboot.fetch.tls import require_certificates
from firstboot.fetch.unpack import Unpacker
from firstboot.platforms import hyperv
from firstboot.platforms.shared import config_drive
from firstboot.platforms.shared.metadata import Metadata
from firstboot.platforms.vmware import (
    decode_config,
    make_message,
    parse_message,
    read_properties,
    remove_properties,
)
from firstboot.sources.metadata import make_environment

pytestmark = pytest.mark.unit

URLS = st.one_of(st.text(), st.text(st.sampled_from("htps:/[]@%?#.a1é \n"), max_size=30).map("http://".__add__))


@given(URLS)
def test_urls(url: str) -> None:
    with contextlib.suppress(FetchError):
        target = parse_url(url)
        assert parse_url(target.url).url == target.url
        assert "\n" not in target.url


@given(URLS, st.booleans())
def test_redirects_never_leave_https(location: str, guarded: bool) -> None:
    with contextlib.suppress(FetchError):
        target = follow_redirect(parse_url("https://server.example.org/a"), location, guarded=guarded)
        assert target.scheme == "https"
        assert not (guarded and is_link_local(target.host))


@given(st.text(), st.lists(st.text(), max_size=3))
def test_hosts_and_proxies(host: str, none_for: list[str]) -> None:
    assert is_proxied(host, 80, tuple(none_for)) in (True, False)


@given(st.text().map("s3://".__add__) | st.text().map("arn:aws:s3:".__add__))
def test_objects(url: str) -> None:
    with contextlib.suppress(FetchError):
        assert parse_s3(url).make_url("eu-west-1").startswith("https://")


@given(st.binary() | st.binary().map(b"-----BEGIN CERTIFICATE-----\n".__add__))
def test_bundles(data: bytes) -> None:
    with contextlib.suppress(FetchError):
        require_certificates(data, "x")


@given(st.lists(st.binary(), max_size=5), st.booleans())
def test_compressed_bodies(pieces: list[bytes], is_gzip: bool) -> None:
    file = io.BytesIO()
    with contextlib.suppress(FetchError):
        sink = Unpacker(file, "gzip" if is_gzip else "", 1 << 16, "sha256")
        for piece in (b"\x1f\x8b\x08\0\0\0\0\0\0\xff" if is_gzip else b"", *pieces):
            sink.write(piece)
        sink.finish()
        assert is_gzip or file.getvalue() == b"".join(pieces)


@given(st.binary(max_size=200))
def test_hypervisors_messages(data: bytes) -> None:
    with contextlib.suppress(FetchError):
        parse_message(data)
    assert parse_message(make_message(data)[4:]) == data


@given(st.binary(max_size=300))
def test_hypervs_messages(data: bytes) -> None:
    key, value = hyperv._parse_pair(data.ljust(hyperv._MESSAGE_BYTES, b"\xff"))
    assert len(key.encode("utf-8", "surrogatepass")) <= 3 * 512
    assert len(value) <= 2048


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 0x8800), st.binary(max_size=64))
def test_superblocks(tmp_path: Path, at: int, data: bytes) -> None:
    head = bytearray(0x9000)
    head[0x8001:0x8006] = b"CD001"
    struct.pack_into("<H", head, 0x438, 0xEF53)
    head[at : at + len(data)] = data
    (tmp_path / "device").write_bytes(head)
    assert config_drive.read_label(tmp_path / "device") is None or "\0" not in str(
        config_drive.read_label(tmp_path / "device")
    )


@given(st.text() | st.text().map("<Environment>{}</Environment>".format))
def test_ovf_environments(text: str) -> None:
    with contextlib.suppress(FetchError):
        read_properties(text)
        remove_properties(text, ["a"])


@given(st.text(), st.sampled_from(["", "base64", "gzip", "gzip+base64", "gz+b64", "+", "x"]))
def test_encodings(value: str, encoding: str) -> None:
    with contextlib.suppress(FetchError):
        decode_config("x", value.replace("\ud800", ""), encoding)


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), st.text(st.characters(exclude_categories=["Cs"]))))
def test_attributes_are_one_variable_each(values: dict[str, str]) -> None:
    text = make_environment(Metadata(values))
    lines = text.split("\n")[:-1]
    assert [line.partition("=")[0] for line in lines] == [
        f"AFTERBURN_{k}" for k in sorted(values) if is_visible(values[k])
    ]
    assert all(len(shlex.split(line.partition("=")[2].replace("\\$", "$").replace("\\`", "`"))) == 1 for line in lines)


def is_visible(value: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in value)
