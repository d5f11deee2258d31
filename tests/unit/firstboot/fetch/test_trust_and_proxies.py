"""Whom a machine trusts, and through whom it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firstboot.config.models import Ignition, Proxy, Reference, Resource, Security, Timeouts, Tls
from firstboot.config.urls import make_data_url
from firstboot.fetch.errors import FetchError
from firstboot.fetch.proxy import is_proxied
from firstboot.fetch.settings import Proxies

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
HTTPS = "https://server.example.org"


@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        ("expired", "has expired"),
        ("not-yet", "is not valid yet"),
        ("wrong-host", "is for another host"),
        ("self-signed", "is self-signed"),
    ],
)
def test_a_bad_certificate_is_refused_at_once_with_the_clock(
    outside: Any, resource: Make, authority: str, certificate: str, says: str
) -> None:
    asked = outside.serve("https://localhost", lambda _: b"", certificate)
    with pytest.raises(FetchError, match=f"certificate of localhost {says}.*; this machine's clock says 20"):
        outside.fetcher(authorities=(authority,)).fetch(resource("https://localhost/"))
    assert asked == []
    assert outside.said == []


def test_an_unknown_authority_is_refused_with_where_to_name_it(outside: Any, resource: Make) -> None:
    outside.serve(HTTPS, lambda _: b"")
    with pytest.raises(FetchError, match="certificateAuthorities"):
        outside.fetcher().fetch(resource(HTTPS))


def configured(outside: Any, **parts: Any) -> Any:
    return outside.fetcher().adapt_to(Ignition(version="3.6.0", **parts))


def test_a_config_names_authorities_proxies_and_times(outside: Any, resource: Make, authority: str) -> None:
    bundle = Reference(source=make_data_url(b"a comment\n" + authority.encode()))
    outside.serve(HTTPS, lambda _: b"text")
    fetcher = configured(
        outside,
        security=Security(tls=Tls(certificate_authorities=(bundle,))),
        timeouts=Timeouts(http_response_headers=0, http_total=60),
        proxy=Proxy(http_proxy="http://proxy:3128", no_proxy=("a", "b")),
    )
    assert fetcher.fetch(resource(HTTPS)) == b"text"
    assert fetcher.settings.header_seconds is None
    assert fetcher.settings.total_seconds == 60
    assert fetcher.settings.proxies == Proxies("http://proxy:3128", "", ("a", "b"))


def test_without_a_config_headers_have_ten_seconds_and_all_has_five_minutes(outside: Any) -> None:
    settings = configured(outside).settings
    assert (settings.header_seconds, settings.total_seconds) == (10, 300)


@pytest.mark.parametrize(
    ("bundle", "says"),
    [
        (b"", "no certificate"),
        (b"no PEM", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
    ],
)
def test_a_bundle_without_certificates_is_an_error(outside: Any, bundle: bytes, says: str) -> None:
    reference = Reference(source=make_data_url(bundle))
    with pytest.raises(FetchError, match=says):
        configured(outside, security=Security(tls=Tls(certificate_authorities=(reference,))))


def test_text_after_the_last_certificate_is_an_error(outside: Any, authority: str) -> None:
    reference = Reference(source=make_data_url(authority.encode() + b"rubbish"))
    with pytest.raises(FetchError, match="text after its last certificate"):
        configured(outside, security=Security(tls=Tls(certificate_authorities=(reference,))))


def test_a_proxy_is_asked_for_the_whole_url(outside: Any, resource: Make) -> None:
    asked = outside.serve("http://proxy:3128", lambda _: b"from the proxy")
    fetcher = outside.fetcher(proxies=Proxies("http://me:word@proxy:3128"))
    assert fetcher.fetch(resource("http://www.fake.tld/a?b=c")) == b"from the proxy"
    assert asked[0].path == "http://www.fake.tld/a?b=c"
    assert asked[0].header("Host") == "www.fake.tld"
    assert asked[0].header("Proxy-Authorization") == "Basic bWU6d29yZA=="


def test_a_proxy_without_a_scheme_is_an_http_proxy(outside: Any, resource: Make) -> None:
    outside.serve("http://proxy:3128", lambda _: b"from the proxy")
    fetcher = outside.fetcher(proxies=Proxies("proxy:3128"))
    assert fetcher.fetch(resource("http://www.fake.tld/")) == b"from the proxy"


def test_https_goes_through_a_proxy_that_sees_only_the_host(outside: Any, resource: Make, authority: str) -> None:
    seen = outside.serve(HTTPS, lambda _: b"text")
    port = outside.ports.pop(("server.example.org", 443))
    asked = outside.serve("http://proxy:3128", lambda _: port)
    fetcher = outside.fetcher(proxies=Proxies("", "http://proxy:3128"), authorities=(authority,))
    assert fetcher.fetch(resource(f"{HTTPS}/a", headers={"X-Auth": "secret"})) == b"text"
    assert [(each.method, each.path, each.header("X-Auth")) for each in asked] == [
        ("CONNECT", "server.example.org:443", None)
    ]
    assert seen[0].header("X-Auth") == "secret"


def test_a_proxy_that_does_not_connect_is_named(outside: Any, resource: Make) -> None:
    outside.serve("http://proxy:3128", lambda _: 403)
    fetcher = outside.fetcher(proxies=Proxies("", "http://proxy:3128"))
    with pytest.raises(FetchError, match=r"proxy proxy:3128 does not connect to server.example.org:443: 403"):
        fetcher.fetch(resource(HTTPS))


def test_an_encrypted_proxy_takes_http(outside: Any, resource: Make, authority: str) -> None:
    outside.serve("https://proxy.example.org:3128", lambda _: b"from the proxy")
    fetcher = outside.fetcher(proxies=Proxies("https://proxy.example.org:3128"), authorities=(authority,))
    assert fetcher.fetch(resource("http://www.fake.tld/")) == b"from the proxy"


@pytest.mark.parametrize(
    ("host", "port", "none_for", "through"),
    [
        ("localhost", 80, (), False),
        ("127.0.0.9", 80, (), False),
        ("::1", 80, (), False),
        ("a.org", 80, (), True),
        ("a.org", 80, ("*",), False),
        ("a.org", 80, ("a.org",), False),
        ("A.ORG.", 80, ("a.org",), False),
        ("b.a.org", 80, ("a.org",), False),
        ("ba.org", 80, ("a.org",), True),
        ("a.org", 80, (".a.org",), True),
        ("b.a.org", 80, (".a.org",), False),
        ("b.a.org", 80, ("*.a.org",), False),
        ("a.org", 80, ("a.org:80",), False),
        ("a.org", 81, ("a.org:80",), True),
        ("10.1.2.3", 80, ("10.0.0.0/8",), False),
        ("11.1.2.3", 80, ("10.0.0.0/8",), True),
        ("a.org", 80, ("10.0.0.0/8",), True),
        ("10.1.2.3", 80, ("10.1.2.3",), False),
        ("10.1.2.3", 81, ("10.1.2.3:80",), True),
        ("fd00::1", 80, ("fd00::/8",), False),
        ("fd00::1", 80, ("fd00::1",), False),
        ("a.org", 80, ("", " a.org "), False),
        ("a.org", 80, ("10.0.0.0/99",), True),
    ],
)
def test_what_is_asked_without_a_proxy(host: str, port: int, none_for: tuple[str, ...], through: bool) -> None:
    assert is_proxied(host, port, none_for) is through
