"""HTTP and HTTPS: what servers see of a machine, and which of their faults it survives."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firstboot.config.models import Resource
from firstboot.fetch.errors import FetchError, NotFound

pytestmark = pytest.mark.unit

Make = Callable[..., Resource]
URL = "http://server.example.org/config"
SITE = "http://server.example.org"


def test_a_server_sees_ignitions_headers(outside: Any, resource: Make) -> None:
    asked = outside.serve(SITE, lambda _: b"text")
    assert outside.fetcher().fetch(resource(URL)) == b"text"
    (request,) = asked
    assert request.header("User-Agent").startswith("Ignition/")
    assert request.header("Accept") == "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1"
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("Host") == "server.example.org"


def test_a_config_sets_headers_of_its_own(outside: Any, resource: Make) -> None:
    asked = outside.serve(SITE, lambda _: b"")
    outside.fetcher().fetch(resource(URL, headers={"X-Auth": "r8", "user-agent": "mine"}))
    assert asked[0].header("X-Auth") == "r8"
    assert [value for name, value in asked[0].headers.items() if name.lower() == "user-agent"] == ["mine"]


def test_a_header_that_lost_its_value_is_an_error(outside: Any, resource: Make) -> None:
    outside.serve(SITE, lambda _: b"")
    with pytest.raises(FetchError, match="header 'X-Auth' has no value"):
        outside.fetcher().fetch(resource(URL, headers={"X-Auth": None}))


def test_a_line_break_in_a_header_is_not_sent(outside: Any, resource: Make) -> None:
    asked = outside.serve(SITE, lambda _: b"")
    with pytest.raises(FetchError, match="cannot be sent"):
        outside.fetcher().fetch(resource(URL, headers={"X-Auth": "a\r\nX-Admin: yes"}))
    assert asked == []


def test_a_redirect_is_followed_without_the_configs_headers(outside: Any, resource: Make, answer: Any) -> None:
    def moved(request: Any) -> Any:
        return answer(302, b"", {"Location": "new"}) if request.path == "/old" else b"here"

    asked = outside.serve(SITE, moved)
    assert outside.fetcher().fetch(resource(f"{SITE}/old", headers={"Authorization": "secret"})) == b"here"
    assert [(each.path, each.header("Authorization")) for each in asked] == [("/old", "secret"), ("/new", None)]


@pytest.mark.parametrize(("hops", "arrives"), [(10, True), (11, False)])
def test_ten_redirects_are_followed_and_no_more(
    outside: Any, resource: Make, answer: Any, hops: int, arrives: bool
) -> None:
    def next_hop(request: Any) -> Any:
        done = int(request.path[1:])
        return answer(302, b"", {"Location": f"/{done + 1}"}) if done < hops else b"end"

    asked = outside.serve(SITE, next_hop)
    if arrives:
        assert outside.fetcher().fetch(resource(f"{SITE}/0")) == b"end"
    else:
        with pytest.raises(FetchError, match="more than 10 redirects"):
            outside.fetcher().fetch(resource(f"{SITE}/0"))
    assert len(asked) == 11


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("file:///etc/shadow", "redirects to a URL that begins with 'file:'"),
        ("ftp://server.example.org/x", "redirects to a URL that begins with 'ftp:'"),
        ("http://server.example.org/x", "redirects from https to http"),
        ("https://169.254.169.254/latest/api/token", "metadata service"),
        ("https://[fe80::a9fe:a9fe%25eth0]/", "metadata service"),
        ("https://[::ffff:169.254.169.254]/", "metadata service"),
        ("https://100.100.100.200/latest/", "metadata service"),
        ("https://rebound.example.org/", "metadata service"),
    ],
)
def test_a_redirect_leads_to_no_secrets(
    outside: Any, resource: Make, answer: Any, authority: str, location: str, says: str
) -> None:
    asked = outside.serve("https://server.example.org", lambda _: answer(302, b"", {"Location": location}))
    outside.known["rebound.example.org"] = "169.254.169.254"
    fetcher = outside.fetcher(authorities=(authority,))
    with pytest.raises(FetchError, match=says):
        fetcher.fetch(resource("https://server.example.org/x", headers={"Authorization": "secret"}))
    assert len(asked) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(outside: Any, resource: Make, status: int) -> None:
    answers = iter([status, status, b"text"])
    asked = outside.serve(SITE, lambda _: next(answers))
    assert outside.fetcher().fetch(resource(URL)) == b"text"
    assert len(asked) == 3
    assert f"the server answers {status}" in outside.said[0]


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (403, FetchError), (401, FetchError), (400, FetchError)]
)
def test_a_refusal_is_final(outside: Any, resource: Make, status: int, error: type[FetchError]) -> None:
    asked = outside.serve(SITE, lambda _: status)
    with pytest.raises(error, match=f"GET {URL}: the server answers {status}"):
        outside.fetcher().fetch(resource(URL))
    assert len(asked) == 1


def test_the_pauses_double_up_to_five_seconds(outside: Any, resource: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(outside.clock, "sleep", pauses.append)
    answers = iter([503] * 7 + [b"text"])
    outside.serve(SITE, lambda _: next(answers))
    outside.fetcher().fetch(resource(URL))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_server_says_how_long_to_wait(
    outside: Any, resource: Make, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(outside.clock, "sleep", pauses.append)
    answers = iter([answer(429, b"", {"Retry-After": "7"}), answer(503, b"", {"Retry-After": "86400"}), b"text"])
    outside.serve(SITE, lambda _: next(answers))
    outside.fetcher().fetch(resource(URL))
    assert pauses == [7.0, 30.0]


def test_a_server_that_is_down_for_a_minute_is_waited_for(outside: Any, resource: Make) -> None:
    outside.clock.speed = 60
    started = outside.clock.get_time()
    timer = threading.Timer(outside.clock.convert_to_real(60), lambda: outside.serve(SITE, lambda _: b"text"))
    timer.start()
    assert outside.fetcher().fetch(resource(URL)) == b"text"
    timer.join()
    assert outside.clock.get_time() - started >= 60


def test_a_server_that_never_answers_ends_with_a_reason(outside: Any, resource: Make) -> None:
    silence = threading.Event()
    outside.serve(SITE, lambda _: (silence.wait(), b"")[1])
    outside.clock.speed = 200
    with pytest.raises(FetchError, match=f"GET {URL}: given up after 300 s: no response within"):
        outside.fetcher().fetch(resource(URL))
    silence.set()


def test_headers_may_take_ten_seconds(outside: Any, resource: Make) -> None:
    asked_again = threading.Event()
    order = itertools.count()
    outside.serve(SITE, lambda _: (asked_again.set() if next(order) else asked_again.wait(60), b"text")[1])
    assert outside.fetcher().fetch(resource(URL)) == b"text"
    assert asked_again.is_set()
    assert "no response within 10 s" in outside.said[0]


def test_a_config_may_wait_for_headers_for_ever(outside: Any, resource: Make) -> None:
    outside.serve(SITE, lambda _: (outside.clock.sleep(12), b"text")[1])
    assert outside.fetcher(header_seconds=None, total_seconds=None).fetch(resource(URL)) == b"text"
    assert outside.said == []


def dripping(outside: Any) -> Iterator[bytes]:
    while True:
        outside.clock.sleep(1)
        yield b"x"


def test_a_body_that_only_drips_is_given_up(outside: Any, resource: Make, answer: Any) -> None:
    outside.clock.speed = 60
    outside.serve(SITE, lambda _: answer(200, dripping(outside)))
    started = time.monotonic()
    with pytest.raises(FetchError, match="given up after 100 s: the body"):
        outside.fetcher(total_seconds=100).fetch(resource(URL))
    assert time.monotonic() - started < outside.clock.convert_to_real(110) + 30
    assert "the body comes slower than 1024 bytes/s" in outside.said[0]


def test_headers_that_only_drip_are_given_up(outside: Any, resource: Make, answer: Any) -> None:
    def slowly(_request: Any) -> Any:
        outside.clock.sleep(1)
        return answer(200, b"", {f"X-{number}": "1" for number in range(3)})

    waits = itertools.count()
    outside.serve(SITE, lambda request: (outside.clock.sleep(30 if next(waits) == 0 else 0), slowly(request))[1])
    assert outside.fetcher().fetch(resource(URL)) == b""
    assert "no response within 10 s" in outside.said[0]


def test_a_slow_but_steady_body_is_read_to_its_end(outside: Any, resource: Make, answer: Any) -> None:
    def steadily() -> Iterator[bytes]:
        for _ in range(8):
            outside.clock.sleep(10)
            yield b"x" * 200_000

    outside.clock.speed = 60
    outside.serve(SITE, lambda _: answer(200, steadily()))
    assert len(outside.fetcher().fetch(resource(URL))) == 1_600_000
    assert outside.said == []


def test_an_endless_body_ends_at_the_limit(outside: Any, resource: Make, answer: Any) -> None:
    asked = outside.serve(SITE, lambda _: answer(200, itertools.repeat(b"x" * 65536)))
    with pytest.raises(FetchError, match="larger than 1000000 bytes"):
        outside.fetcher().fetch(resource(URL), limit=1_000_000)
    assert len(asked) == 1


def test_a_body_that_is_cut_short_is_fetched_again_from_its_start(outside: Any, resource: Make, answer: Any) -> None:
    answers = iter([answer(200, b"half", length=8), b"whole"])
    outside.serve(SITE, lambda _: next(answers))
    assert outside.fetcher().fetch(resource(URL)) == b"whole"
    assert "the connection broke" in outside.said[0]


def test_a_name_that_does_not_resolve_ends_with_a_reason(outside: Any, resource: Make) -> None:
    with pytest.raises(FetchError, match=r"given up after 20 s: the name nowhere.example.org cannot be resolved"):
        outside.fetcher(total_seconds=20).fetch(resource("http://nowhere.example.org/"))


def test_signatures_and_passwords_in_urls_are_not_said(outside: Any, resource: Make) -> None:
    answers = iter([503, 404])
    asked = outside.serve(SITE, lambda _: next(answers))
    with pytest.raises(NotFound) as caught:
        outside.fetcher().fetch(resource("http://me:secret@server.example.org/a?sig=secret"))
    assert "secret" not in str(caught.value) + "".join(outside.said)
    assert asked[0].header("Authorization") == "Basic bWU6c2VjcmV0"
    assert asked[0].path == "/a?sig=secret"


@pytest.mark.parametrize(
    "url", ["http://", "http:///path", "http://server.example.org:99999/", "gopher://server/x", "http://[::1/"]
)
def test_a_url_that_is_none_is_refused(outside: Any, resource: Make, url: str) -> None:
    with pytest.raises(FetchError):
        outside.fetcher().fetch(resource(url))
