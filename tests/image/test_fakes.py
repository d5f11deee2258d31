"""The servers that tests give to their machines do what they are told, good and bad."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from builder.core.tools import Tools
from vm.fakes import Fakes
from vm.fakes.web import Reply, WebServer

pytestmark = pytest.mark.image


@pytest.fixture
def fakes(tools: Tools, tmp_path: Path) -> Iterator[Fakes]:
    with Fakes(tools, tmp_path / "certificates") as made:
        yield made


def get(url: str, **options: object) -> requests.Response:
    return requests.get(url, timeout=20, **options)  # type: ignore[arg-type]


def test_a_page_is_served_and_whoever_asked_is_remembered(fakes: Fakes) -> None:
    web = fakes.web()
    web.put("/page", b"hello")
    web.put("/echo", lambda request: Reply(request.body, 201, {"X-Method": request.method}))
    assert get(web.url("/page"), headers={"X-Token": "t"}).text == "hello"
    echo = requests.post(web.url("/echo"), data=b"back", timeout=20)
    assert (echo.status_code, echo.text, echo.headers["X-Method"]) == (201, "back", "POST")
    assert get(web.url("/nothing")).status_code == 404
    [asked] = web.asked("/page")
    assert (asked.method, asked.headers["x-token"]) == ("GET", "t")


def test_only_those_who_trust_the_authority_read_over_tls(fakes: Fakes) -> None:
    web = fakes.web(tls=True)
    web.put("/", b"secret")
    assert get(web.url(), verify=str(fakes.authority.path)).text == "secret"
    with pytest.raises(requests.exceptions.SSLError):
        get(web.url())


def test_a_certificate_that_has_expired_or_is_for_another_is_refused(fakes: Fakes) -> None:
    for certificate, says in (
        (fakes.authority.issue("127.0.0.1", days=-1), "expired"),
        (fakes.authority.issue("other.example"), "doesn't match|not valid for"),
    ):
        with WebServer(certificate) as web, pytest.raises(requests.exceptions.SSLError, match=says):
            get(web.url(), verify=str(fakes.authority.path))


def test_a_server_can_be_slow_cut_short_stalled_endless_and_dead(fakes: Fakes) -> None:
    web = fakes.web()
    web.put("/slow", Reply(b"late", slow=0.3))
    started = time.monotonic()
    assert get(web.url("/slow")).text == "late"
    assert time.monotonic() - started >= 0.3
    web.put("/cut", Reply(b"0123456789", cut=4))
    with pytest.raises(requests.exceptions.RequestException):
        get(web.url("/cut"))
    web.put("/stalled", Reply(b"0123456789", stall=4))
    with get(web.url("/stalled"), stream=True) as answer:
        assert answer.raw.read(4) == b"0123"
    web.put("/endless", Reply(b"x" * 1000, endless=True))
    with get(web.url("/endless"), stream=True) as answer:
        assert len(answer.raw.read(50_000)) == 50_000
    web.put("/page", b"there")
    web.die()
    with pytest.raises(requests.exceptions.ConnectionError):
        get(web.url("/page"))
    web.revive()
    assert get(web.url("/page")).text == "there"


def test_an_image_is_pulled_from_a_registry(fakes: Fakes, tmp_path: Path) -> None:
    import hashlib

    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return f"sha256:{name}"

    layer = put(b"a layer")
    manifest = put(json.dumps({"schemaVersion": 2, "layers": [{"digest": layer}]}).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": manifest, "mediaType": kind}]}))
    registry = fakes.registry()
    assert registry.add("apps/web", "1.0", tmp_path) == manifest
    assert registry.format_name("apps/web", "1.0") == f"127.0.0.1:{registry.web.port}/apps/web:1.0"
    assert get(registry.web.url("/v2/")).status_code == 200
    answer = get(registry.web.url("/v2/apps/web/manifests/1.0"))
    assert (answer.headers["Content-Type"], answer.headers["Docker-Content-Digest"]) == (kind, manifest)
    assert get(registry.web.url(f"/v2/apps/web/blobs/{answer.json()['layers'][0]['digest']}")).content == b"a layer"


def test_a_proxy_leads_to_loopback_by_any_name(fakes: Fakes) -> None:
    web, secure, proxy = fakes.web(), fakes.web(tls=True), fakes.proxy()
    web.put("/page", b"plain")
    secure.put("/page", b"tunnelled")
    proxies = {"http": proxy.url(), "https": proxy.url()}
    assert get(f"http://far.example:{web.port}/page", proxies=proxies).text == "plain"
    verify = str(fakes.authority.path)
    assert get(secure.url("/page", "localhost"), proxies=proxies, verify=verify).text == "tunnelled"
    assert [line.split()[0] for line in proxy.asked] == ["GET", "CONNECT"]
    proxy.refuse = 407
    assert get(f"http://far.example:{web.port}/page", proxies=proxies).status_code == 407


def ask(port: int, question: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(question, ("127.0.0.1", port))
        return sock.recv(1 << 16)


def test_names_and_the_time_are_told(fakes: Fakes) -> None:
    server = fakes.dns({"Web.example": "10.1.2.3"})
    name = b"\x03web\x07example\0"
    query = b"id" + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
    assert ask(server.port, query).endswith(socket.inet_aton("10.1.2.3"))
    assert ask(server.port, query.replace(b"web", b"wob"))[3] & 0xF == 3

    answer = ask(fakes.ntp(offset=1000).port, bytes([0x23]) + bytes(39) + b"origin!!")
    assert answer[24:32] == b"origin!!"
    (seconds,) = struct.unpack_from("!I", answer, 40)
    assert 900 < seconds - 2208988800 - time.time() < 1100


@pytest.mark.parametrize("size", [0, 511, 512, 100_000])
def test_a_file_is_sent_in_blocks(fakes: Fakes, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    server = fakes.tftp({"boot/config": content[:size]})
    assert fetched(server.port, "boot/config") == content[:size]


def fetched(port: int, name: str) -> bytes:
    """A file, as a client that knows the protocol gets it."""
    found = b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(struct.pack("!H", 1) + name.encode() + b"\0octet\0", ("127.0.0.1", port))
        while True:
            block, server = sock.recvfrom(1 << 16)
            assert block[:2] == b"\0\3", block
            found += block[4:]
            sock.sendto(b"\0\4" + block[2:4], server)
            if len(block) < 516:
                return found
