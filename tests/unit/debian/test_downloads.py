"""Downloads into the store, from mirrors that behave badly."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import CapabilityError, SourceError
from builder.core.http import Patience
from builder.core.store import Store
from builder.debian.fetch import Download, fetch, fetch_packages
from builder.debian.mirror import Mirrors
from builder.debian.transfer import Client

pytestmark = pytest.mark.unit

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(DATA).hexdigest()


def no_mirror() -> Mirrors:
    raise AssertionError("a full store needs no mirror")


def wanted(*servers: Any, data: bytes = DATA, path: str = "file", sha256: str | None = None) -> Download:
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return Download(digest, len(data), "hello 1.0-1", tuple(f"{s.url}/{path}" for s in servers))


@pytest.fixture
def get(store: Store, console: Any, hasty: Client) -> Callable[..., int]:
    def go(*items: Download, **options: Any) -> int:
        return fetch(items, store, console, **({"client": hasty} | options))

    return go


def partial(store: Store, sha256: str = SHA) -> Path:
    return store.root / "partial" / sha256


def test_a_file_is_downloaded_once_and_verified(serve: Any, store: Store, get: Any, console: Any) -> None:
    server = serve({"file": DATA})
    assert get(wanted(server)) == len(DATA)
    assert store.locate_blob(SHA).read_bytes() == DATA
    assert get(wanted(server)) == 0
    assert server.paths == ["file"]
    assert console.steps[-1] == (len(DATA), len(DATA))
    assert list((store.root / "partial").iterdir()) == []


def test_many_files_are_downloaded_at_once(serve: Any, store: Store, get: Any, console: Any) -> None:
    files = {f"f{i}": bytes([i]) * (i + 1) * 100 for i in range(30)}
    server = serve(files)
    assert get(*(wanted(server, data=data, path=path) for path, data in files.items())) == sum(map(len, files.values()))
    assert all(store.has_blob(hashlib.sha256(data).hexdigest()) for data in files.values())
    assert console.steps[-1][0] == console.steps[-1][1] == sum(map(len, files.values()))


def test_what_is_not_what_was_promised_is_refused(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": b"x" * len(DATA)})
    with pytest.raises(SourceError, match=r"cannot download hello 1\.0-1") as caught:
        get(wanted(server))
    assert caught.value.exit_code == 6
    assert "expected " + SHA in caught.value.details[0]
    assert server.paths == ["file"]  # the same bytes would come again
    assert not store.has_blob(SHA)


def test_a_missing_file_names_the_way_out(serve: Any, get: Any) -> None:
    server, other = serve({}), serve({})
    with pytest.raises(SourceError) as caught:
        get(wanted(server, other))
    assert [line.partition(": ")[2] for line in caught.value.details] == ["404 Not Found", "404 Not Found"]
    for way in ("'build-os lock --update PACKAGE'", "BUILD_OS_SNAPSHOT", "'build-os store import'"):
        assert way in str(caught.value.hint)


def test_a_server_that_failed_is_asked_after_the_others(serve: Any, store: Store, console: Any, hasty: Client) -> None:
    files = {f"f{i}": bytes([i]) * 100 for i in range(5)}
    good = serve(files)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        port = nobody.getsockname()[1]
        asked: list[str] = []

        def attempt(url: str) -> bytes:
            asked.append(url)
            with hasty.get(url, maximum=100) as answer:
                return b"".join(answer.pieces)

        for name, data in files.items():
            urls = [f"http://127.0.0.1:{port}/{name}", f"{good.url}/{name}"]
            assert hasty.try_each(urls, name, attempt, "") == data
    assert len(asked) == len(files) + 1
    # A server that only lacks a file is as good as before.
    other = serve({"x": b"1"})
    asked.clear()
    for _ in range(2):
        hasty.try_each([f"{other.url}/f0", f"{good.url}/f0"], "f0", attempt, "")
    assert len(asked) == 4


def test_a_snapshot_has_what_the_mirrors_have_dropped(
    serve: Any, store: Store, console: Any, hasty: Client, debs: Any
) -> None:
    deb = debs("old", "1")
    mirror, snapshot = serve({}), serve({f"archive/debian/20260501T120000Z/{deb.path}": deb.data})
    mirrors = Mirrors(
        (mirror.url,), (mirror.url,), "the test", {"trixie": (f"{snapshot.url}/archive/debian/20260501T120000Z",)}
    )
    assert fetch_packages([deb.locked], lambda: mirrors, store, console, client=hasty) == len(deb.data)
    assert mirror.paths == [deb.path]
    assert store.has_blob(deb.sha256)


def test_all_missing_files_are_reported_together(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    items = [Download(hashlib.sha256(bytes([i])).hexdigest(), 1, f"p{i}", (f"{server.url}/p{i}",)) for i in range(3)]
    with pytest.raises(SourceError, match="3 files cannot be downloaded") as caught:
        get(*items, wanted(server))
    assert [line for line in caught.value.details if not line.startswith(" ")] == [
        f"cannot download p{i}" for i in range(3)
    ]
    assert store.has_blob(SHA)


def test_the_next_mirror_takes_over(serve: Any, store: Store, get: Any) -> None:
    missing, wrong, good = serve({}), serve({"file": DATA[::-1]}), serve({"file": DATA})
    get(wanted(missing, wrong, good))
    assert store.locate_blob(SHA).read_bytes() == DATA


def test_a_mirror_that_is_down_is_passed_over(serve: Any, store: Store, get: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    good = serve({"file": DATA})
    get(Download(SHA, len(DATA), "x", (f"http://127.0.0.1:{port}/file", f"{good.url}/file")))
    assert store.has_blob(SHA)


def test_a_mirror_that_is_down_alone_is_reported(store: Store, get: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(SourceError) as caught:
        get(Download(SHA, 1, "x", (f"http://me:secret@127.0.0.1:{port}/file",)))
    assert caught.value.details == (f"http://***@127.0.0.1:{port}/file: Connection refused",)
    assert "is the mirror up?" in str(caught.value.hint)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_mirror_is_asked_again(serve: Any, store: Store, get: Any, status: int) -> None:
    server = serve({"file": DATA})

    def busy(handler: Any) -> None:
        del server.rules["file"]
        handler.answer(status)

    server.rules["file"] = busy
    get(wanted(server))
    assert server.paths == ["file", "file"]


def test_a_busy_mirror_is_given_the_time_it_asks_for_within_reason(serve: Any, get: Any) -> None:
    server = serve({"file": DATA})
    server.rules["file"] = lambda handler: handler.answer(429, headers={"Retry-After": "3600"})
    begun = time.monotonic()
    with pytest.raises(SourceError, match="cannot download") as caught:
        get(wanted(server), client=Client(Patience(read=0.3, rounds=2, pause=0.01)))
    assert "429" in caught.value.details[0]
    assert 0.3 <= time.monotonic() - begun < 60


def test_a_body_in_chunks_is_read(serve: Any, store: Store, get: Any) -> None:
    server = serve({})

    def chunked(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(DATA), 100_000):
            piece = DATA[start : start + 100_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    server.rules["file"] = chunked
    get(wanted(server))
    assert store.locate_blob(SHA).read_bytes() == DATA


def test_a_cut_download_is_continued_where_it_stopped(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})

    def cut(handler: Any) -> None:
        del server.rules["file"]
        handler.cut(DATA, 300_000)

    server.rules["file"] = cut
    assert get(wanted(server)) == len(DATA)
    assert server.requests == [("file", ""), ("file", "bytes=300000-")]
    assert store.locate_blob(SHA).read_bytes() == DATA


def test_a_later_run_continues_what_an_earlier_one_left(serve: Any, store: Store, get: Any, console: Any) -> None:
    server = serve({"file": DATA})
    partial(store).parent.mkdir()
    partial(store).write_bytes(DATA[:1000])
    assert get(wanted(server)) == len(DATA) - 1000
    assert server.requests == [("file", "bytes=1000-")]
    assert console.steps[-1] == (len(DATA), len(DATA))


def test_a_bad_remainder_is_thrown_away(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    partial(store).parent.mkdir()
    partial(store).write_bytes(b"z" * 1000)
    get(wanted(server))
    assert server.requests == [("file", "bytes=1000-"), ("file", "")]
    assert store.locate_blob(SHA).read_bytes() == DATA


@pytest.mark.parametrize("length", [len(DATA), len(DATA) + 5])
def test_a_remainder_that_is_whole_or_too_long_is_handled(serve: Any, store: Store, get: Any, length: int) -> None:
    server = serve({"file": DATA})
    partial(store).parent.mkdir()
    partial(store).write_bytes((DATA + b"trail")[:length])
    get(wanted(server))
    assert server.paths == (["file"] if length > len(DATA) else [])
    assert store.locate_blob(SHA).read_bytes() == DATA


def test_a_server_without_ranges_sends_all_again(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    server.rules["file"] = lambda handler: handler.answer(200, DATA)
    partial(store).parent.mkdir()
    partial(store).write_bytes(DATA[:1000])
    assert get(wanted(server)) == len(DATA)
    assert store.locate_blob(SHA).read_bytes() == DATA


def test_a_server_that_sends_another_range_is_refused(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    server.rules["file"] = lambda handler: handler.answer(206, DATA[5:], {"Content-Range": f"bytes 5-9/{len(DATA)}"})
    partial(store).parent.mkdir()
    partial(store).write_bytes(DATA[:1000])
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert "sends others" in caught.value.details[0]


def test_a_server_that_has_less_than_was_kept_starts_over(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})

    def refuse(handler: Any) -> None:
        del server.rules["file"]
        handler.answer(416)

    server.rules["file"] = refuse
    partial(store).parent.mkdir()
    partial(store).write_bytes(DATA[:1000])
    get(wanted(server))
    assert server.requests == [("file", "bytes=1000-"), ("file", "")]


def test_a_download_that_stays_short_is_refused(serve: Any, get: Any) -> None:
    server = serve({"file": DATA[:-1]})
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert f"no more than {len(DATA) - 1} bytes" in caught.value.details[0]


def test_a_download_that_is_cut_every_time_is_refused(serve: Any, get: Any) -> None:
    server = serve({"file": DATA})
    server.rules["file"] = lambda handler: handler.cut(DATA, 100)
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert "the connection was cut" in caught.value.details[0]


def test_no_more_is_read_than_was_promised(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA + b"x"})
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert "at most" in caught.value.details[0]

    def endless(handler: Any) -> None:
        handler.answer(200, b"", {"Content-Length": "", "Connection": "close"})
        handler.close_connection = True
        for _ in range(100):
            handler.wfile.write(DATA)

    server.rules["file"] = endless
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert "more than" in caught.value.details[0]
    assert partial(store).stat().st_size <= len(DATA)


def test_a_server_that_goes_silent_is_given_up(serve: Any, get: Any) -> None:
    server = serve({"file": DATA})
    leave = threading.Event()

    def stall(handler: Any) -> None:
        handler.cut(DATA, 10)
        leave.wait(60)

    server.rules["file"] = stall
    begun = time.monotonic()
    with pytest.raises(SourceError) as caught:
        get(wanted(server), client=Client(Patience(read=0.1, rounds=2, pause=0.01)))
    leave.set()
    assert "silent" in caught.value.details[0]
    assert time.monotonic() - begun < 30


def test_a_server_that_drips_is_given_up(serve: Any, get: Any) -> None:
    server = serve({"file": DATA})
    leave = threading.Event()

    def drip(handler: Any) -> None:
        handler.cut(DATA, 1)
        while not leave.wait(0.02):
            handler.wfile.write(b"x")

    server.rules["file"] = drip
    with pytest.raises(SourceError) as caught:
        get(wanted(server), client=Client(Patience(window=0.1, minimum_rate=1000, rounds=1)))
    leave.set()
    assert "too slow" in caught.value.details[0]


def test_redirects_are_followed(serve: Any, store: Store, get: Any) -> None:
    other = serve({"elsewhere": DATA})
    server = serve({})
    server.rules["file"] = lambda handler: handler.answer(302, headers={"Location": f"{other.url}/elsewhere"})
    get(wanted(server))
    assert store.has_blob(SHA)


@pytest.mark.parametrize(
    ("target", "reason"),
    [("file:///etc/passwd", "not http or https"), ("ftp://x/y", "not http or https"), ("/file", "redirects"),
     ("http://[::1", "Invalid IPv6 URL"), ("http://x:port/", "Failed to parse")],
)  # fmt: skip
def test_redirects_that_lead_astray_are_refused(serve: Any, get: Any, target: str, reason: str) -> None:
    server = serve({})
    server.rules["file"] = lambda handler: handler.answer(301, headers={"Location": target})
    with pytest.raises(SourceError) as caught:
        get(wanted(server))
    assert reason in caught.value.details[0]


def test_a_redirect_from_https_to_http_is_refused() -> None:
    from builder.core.http import TransferError, check_redirect

    check_redirect("http://a.example/", "https://a.example/")
    with pytest.raises(TransferError, match="not encrypted"):
        check_redirect("https://a.example/", "http://a.example/")


def test_offline_lists_what_is_missing(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    with pytest.raises(SourceError, match="1 file is not in the store") as caught:
        get(wanted(server), offline=True)
    assert caught.value.details == ("hello 1.0-1",)
    assert server.requests == []
    get(wanted(server))
    assert get(wanted(server), offline=True) == 0


@pytest.mark.parametrize("damage", ["truncated", "empty", "symlink"])
def test_a_damaged_entry_of_the_store_is_fetched_again(
    serve: Any, store: Store, get: Any, tmp_path: Path, damage: str
) -> None:
    server = serve({"file": DATA})
    blob = store.locate_blob(SHA)
    blob.parent.mkdir(parents=True)
    if damage == "symlink":
        (tmp_path / "elsewhere").write_bytes(DATA)
        blob.symlink_to(tmp_path / "elsewhere")
    else:
        blob.write_bytes(DATA[:10] if damage == "truncated" else b"")
    get(wanted(server))
    assert not blob.is_symlink()
    assert blob.read_bytes() == DATA


def test_two_builds_download_a_file_once(serve: Any, store: Store, console: Any) -> None:
    server = serve({"file": DATA})
    waiting = threading.Event()

    def slow(handler: Any) -> None:
        waiting.wait(5)
        handler.send_file(DATA)

    server.rules["file"] = slow
    results: list[int] = []

    def build() -> None:
        results.append(fetch([wanted(server)], store, console))

    builds = [threading.Thread(target=build) for _ in range(4)]
    for thread in builds:
        thread.start()
    deadline = time.monotonic() + 5
    while sum("another build is downloading" in line for line in console.said) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    waiting.set()
    for thread in builds:
        thread.join()
    assert sorted(results) == [0, 0, 0, len(DATA)]
    assert server.paths == ["file"]


def test_a_link_in_place_of_a_partial_file_is_not_followed(serve: Any, store: Store, get: Any, tmp_path: Path) -> None:
    server = serve({"file": DATA})
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    partial(store).parent.mkdir()
    partial(store).symlink_to(victim)
    with pytest.raises(CapabilityError, match="cannot use the store"):
        get(wanted(server))
    assert victim.read_bytes() == b"precious"


def test_a_full_disk_says_so(serve: Any, store: Store, get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    server = serve({"file": DATA})
    monkeypatch.setattr("builder.core.partial.os.fchmod", full)
    with pytest.raises(CapabilityError, match="no space left for the store") as caught:
        get(wanted(server))
    assert "cache clear" in str(caught.value.hint)


def test_a_store_that_cannot_be_written_says_so(serve: Any, store: Store, get: Any) -> None:
    server = serve({"file": DATA})
    (store.root / "partial").write_text("in the way")
    with pytest.raises(CapabilityError, match="cannot use the store") as caught:
        get(wanted(server))
    assert caught.value.exit_code == 3


def test_interrupting_ends_the_workers(serve: Any, store: Store, console: Any) -> None:
    server = serve({"file": DATA})
    leave = threading.Event()

    def stall(handler: Any) -> None:
        handler.cut(DATA, 10)
        client.stop.set()
        leave.wait(60)

    client = Client(Patience(read=0.2))
    server.rules["file"] = stall
    with pytest.raises(SourceError, match="stopped"):
        fetch([wanted(server)], store, console, client=client)
    leave.set()
    assert not store.has_blob(SHA)


def test_packages_come_from_the_mirrors_of_their_suite(serve: Any, store: Store, console: Any, debs: Any) -> None:
    from dataclasses import replace

    one, two = debs("one"), debs("two")
    main, security = serve({one.path: one.data}), serve({two.path: two.data})
    mirrors = Mirrors((main.url,), (security.url,), "the test")
    packages = [one.locked, replace(two.locked, suite="trixie-security")]
    assert fetch_packages(packages, lambda: mirrors, store, console) == len(one.data) + len(two.data)

    assert fetch_packages(packages, no_mirror, store, console) == 0


def test_packages_that_are_missing_offline_are_named(store: Store, console: Any, debs: Any) -> None:
    with pytest.raises(SourceError, match="2 files are not in the store") as caught:
        fetch_packages([debs("b").locked, debs("a").locked], no_mirror, store, console, offline=True)
    assert caught.value.details == ("a 1.0-1", "b 1.0-1")
