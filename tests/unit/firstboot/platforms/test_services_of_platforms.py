"""Every platform with a metadata service, against a service that is as particular as the real one."""

from __future__ import annotations

import base64
import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import Fetched
from firstboot.sources.user_config import fetch_from_platform

pytestmark = pytest.mark.unit

CONFIG = b'{"ignition": {"version": "3.4.0"}}'
LINK_LOCAL = "http://169.254.169.254"


@dataclass(frozen=True)
class Platform:
    """A metadata service: where it is, what it wants to be asked, how it writes a config."""

    site: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    encode: Callable[[bytes], bytes] = bytes
    token: tuple[str, dict[str, str]] | None = None
    must_have: bool = False
    not_yet: tuple[int, ...] = ()


PLATFORMS = {
    "akamai": Platform(
        LINK_LOCAL,
        "/v1/user-data",
        {"Metadata-Token": "token", "Accept": "*/*"},
        base64.b64encode,
        ("/v1/token", {"Metadata-Token-Expiry-Seconds": "300", "Accept": "text/plain"}),
        must_have=True,
    ),
    "aliyun": Platform("http://100.100.100.200", "/latest/user-data"),
    "applehv": Platform("http://vsock:2:1024", "/", {"Accept": "application/json"}),
    "aws": Platform(
        LINK_LOCAL,
        "/2019-10-01/user-data",
        {"X-aws-ec2-metadata-token": "token"},
        token=("/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}),
    ),
    "digitalocean": Platform(LINK_LOCAL, "/metadata/v1/user-data", must_have=True),
    "exoscale": Platform(LINK_LOCAL, "/1.0/user-data"),
    "gcp": Platform(LINK_LOCAL, "/computeMetadata/v1/instance/attributes/user-data", {"Metadata-Flavor": "Google"}),
    "hetzner": Platform(LINK_LOCAL, "/hetzner/v1/userdata"),
    "oraclecloud": Platform(
        LINK_LOCAL, "/opc/v2/instance/metadata/user_data", {"Authorization": "Bearer Oracle"}, base64.b64encode
    ),
    "scaleway": Platform("http://169.254.42.42", "/user_data/cloud-init"),
    "upcloud": Platform(LINK_LOCAL, "/metadata/v1/user_data"),
    "vultr": Platform(LINK_LOCAL, "/user-data/user-data"),
}
WITH_TOKEN = [name for name, each in PLATFORMS.items() if each.token]
WITH_BASE64 = [name for name, each in PLATFORMS.items() if each.encode is not bytes]
if os.geteuid() != 0:
    del PLATFORMS["scaleway"]  # nobody else may use the source ports that it wants


class Service:
    """The service of a platform. ``before`` are answers it gives first, ``config`` what it has, if anything."""

    def __init__(self, platform: Platform, config: bytes | None, *before: Any) -> None:
        self.platform = platform
        self.config = config
        self.before = list(before)

    def __call__(self, request: Any) -> Any:
        platform = self.platform
        if platform.token is not None and request.path == platform.token[0]:
            if request.method != "PUT" or any(request.header(k) != v for k, v in platform.token[1].items()):
                return 405
            return b"token"
        if any(request.header(name) != value for name, value in platform.headers.items()):
            return 403
        if platform.site == "http://169.254.42.42" and request.client_port >= 1024:
            return 403
        if self.before:
            return self.before.pop(0)
        if request.path != platform.path or self.config is None:
            return 404
        return self.config


Fetch = Callable[[str], Fetched | None]


@pytest.fixture
def fetch(outside: Any, tree: Path, programs: Any) -> Fetch:
    """Get the config from a platform, as a machine in ``tree``."""

    def run(platform: str) -> Fetched | None:
        log = Log(io.StringIO(), priorities=False)
        return fetch_from_platform(platform, Places(tree, programs, outside), log)

    return run


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_config_comes_from_the_service(outside: Any, fetch: Fetch, name: str) -> None:
    platform = PLATFORMS[name]
    outside.serve(platform.site, Service(platform, platform.encode(CONFIG)))
    found = fetch(name)
    assert found is not None
    assert found.data == CONFIG
    assert "://" in found.name or "vsock" in found.name


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_service_that_is_not_up_yet_is_asked_again(outside: Any, fetch: Fetch, name: str) -> None:
    platform = PLATFORMS[name]
    asked = outside.serve(platform.site, Service(platform, platform.encode(CONFIG), 500, 503, 429))
    found = fetch(name)
    assert found is not None
    assert found.data == CONFIG
    assert len(asked) >= 4


@pytest.mark.parametrize("name", PLATFORMS)
def test_404_is_no_config_unless_every_machine_has_one(outside: Any, fetch: Fetch, name: str) -> None:
    platform = PLATFORMS[name]
    outside.serve(platform.site, Service(platform, None))
    if platform.must_have:
        with pytest.raises(FetchError, match="the server answers 404"):
            fetch(name)
    else:
        assert fetch(name) is None


@pytest.mark.parametrize("name", PLATFORMS)
def test_an_empty_answer_is_an_empty_config(outside: Any, fetch: Fetch, name: str) -> None:
    outside.serve(PLATFORMS[name].site, Service(PLATFORMS[name], b""))
    found = fetch(name)
    assert found is not None
    assert found.data == b""


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_refusal_is_final(outside: Any, fetch: Fetch, name: str) -> None:
    outside.serve(PLATFORMS[name].site, lambda _: 403)
    with pytest.raises(FetchError, match="the server answers 403"):
        fetch(name)


@pytest.mark.parametrize("name", ["hetzner", "aws"])
def test_a_service_that_is_not_there_ends_after_two_minutes(outside: Any, fetch: Fetch, name: str) -> None:
    outside.clock.speed = 500
    with pytest.raises(FetchError, match="given up after 120 s"):
        fetch(name)


@pytest.mark.parametrize("name", ["hetzner", "oraclecloud"])
def test_more_than_a_config_may_have_is_not_read(outside: Any, fetch: Fetch, name: str, answer: Any) -> None:
    endless = (b"A" * 65536 for _ in range(10_000))
    outside.serve(PLATFORMS[name].site, lambda _: answer(200, endless))
    with pytest.raises(FetchError, match="the answer is longer than"):
        fetch(name)


@pytest.mark.parametrize("name", WITH_BASE64)
def test_what_is_not_base64_is_an_error(outside: Any, fetch: Fetch, name: str) -> None:
    outside.serve(PLATFORMS[name].site, Service(PLATFORMS[name], b"{not base64}"))
    with pytest.raises(FetchError, match="is not base64"):
        fetch(name)


def test_amazons_older_service_is_asked_without_a_token(outside: Any, fetch: Fetch) -> None:
    asked = outside.serve(LINK_LOCAL, lambda request: CONFIG if request.path == "/2019-10-01/user-data" else 404)
    found = fetch("aws")
    assert found is not None
    assert found.data == CONFIG
    assert asked[-1].header("X-aws-ec2-metadata-token") is None


def test_akamais_config_may_be_compressed(outside: Any, fetch: Fetch) -> None:
    platform = PLATFORMS["akamai"]
    outside.serve(platform.site, Service(platform, base64.b64encode(gzip.compress(CONFIG))))
    found = fetch("akamai")
    assert found is not None
    assert found.data == CONFIG


def test_a_compressed_config_has_a_limit(outside: Any, fetch: Fetch) -> None:
    platform = PLATFORMS["akamai"]
    outside.serve(platform.site, Service(platform, base64.b64encode(gzip.compress(bytes(20 << 20)))))
    with pytest.raises(FetchError, match="when decompressed"):
        fetch("akamai")


def test_packets_service_is_asked_by_https(
    outside: Any, fetch: Fetch, authority: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "authorities.pem").write_text(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    platform = Platform("https://metadata.packet.net", "/userdata", {"Accept": "*/*"})
    outside.serve(platform.site, Service(platform, CONFIG))
    found = fetch("packet")
    assert found is not None
    assert found.data == CONFIG


def test_packet_without_a_config_is_an_error(
    outside: Any, fetch: Fetch, authority: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "authorities.pem").write_text(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    outside.serve("https://metadata.packet.net", lambda _: 404)
    with pytest.raises(FetchError, match="404"):
        fetch("packet")


AZURE = Platform(
    LINK_LOCAL,
    "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
    {"Metadata": "true"},
    base64.b64encode,
)


def test_azures_service_may_be_missing_for_a_while(outside: Any, fetch: Fetch) -> None:
    outside.serve(LINK_LOCAL, Service(AZURE, base64.b64encode(CONFIG), 404, 410, 429, 500))
    found = fetch("azure")
    assert found is not None
    assert found.data == CONFIG
