"""``build-os serve``: files of a repository, and locks that so many machines of a group hold at once."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.core.errors import InputError
from builder.publishing.reboot_locks import FileBook, RebootLocks, Refused, parse_group, release_lock
from builder.publishing.server import MAX_BODY, FleetServer
from tests.support.command import run_command

pytestmark = pytest.mark.unit

GOOD = {"fleet-lock-protocol": "true"}


@contextmanager
def served(directory: Path | None, locks: RebootLocks | None) -> Iterator[int]:
    with FleetServer(("127.0.0.1", 0), directory, locks) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def params(machine: str, group: str = "default") -> dict[str, Any]:
    return {"client_params": {"id": machine, "group": group}}


@pytest.fixture
def book(tmp_path: Path) -> FileBook:
    return FileBook(tmp_path / "locks.json")


def test_never_more_machines_than_locks_reboot_at_once(book: FileBook) -> None:
    rebooting: set[str] = set()
    most, guard = [], threading.Lock()

    def be_a_machine(name: str) -> None:
        for _ in range(3):
            deadline = time.monotonic() + 120
            while ask(port, "POST", "/v1/pre-reboot", params(name), GOOD)[0] != 200:
                assert time.monotonic() < deadline
            with guard:
                rebooting.add(name)
                most.append(len(rebooting))
            time.sleep(0.002)
            with guard:
                rebooting.discard(name)
            assert ask(port, "POST", "/v1/steady-state", params(name), GOOD) == (200, b"")

    with served(None, RebootLocks(book, {"default": 2})) as port, ThreadPoolExecutor(6) as pool:
        for outcome in [pool.submit(be_a_machine, f"machine-{number}") for number in range(6)]:
            outcome.result()
    assert len(most) == 18
    assert max(most) <= 2
    assert book.read() == {"default": {}}


def test_who_has_a_lock_gets_it_again_and_a_new_server_knows_it(book: FileBook) -> None:
    with served(None, RebootLocks(book, {"default": 1})) as port:
        assert ask(port, "POST", "/v1/pre-reboot", params("a"), GOOD)[0] == 200
        assert ask(port, "POST", "/v1/pre-reboot", params("a"), GOOD)[0] == 200
    with served(None, RebootLocks(book, {"default": 1})) as port:
        status, said = ask(port, "POST", "/v1/pre-reboot", params("b"), GOOD)
        assert (status, json.loads(said)) == (
            409,
            {"kind": "failed_lock", "value": "all 1 locks of the group default are held by others"},
        )
        # What is not held can be given back: the protocol has it so.
        assert ask(port, "POST", "/v1/steady-state", params("b"), GOOD)[0] == 200
        assert ask(port, "POST", "/v1/pre-reboot", params("b"), GOOD)[0] == 409
        assert ask(port, "POST", "/v1/steady-state", params("a"), GOOD)[0] == 200
        assert ask(port, "POST", "/v1/pre-reboot", params("b"), GOOD)[0] == 200


def test_groups_do_not_share_their_locks(book: FileBook) -> None:
    locks = RebootLocks(book, {"web": 1, "db": 1})
    locks.claim("web", "a", 1)
    locks.claim("db", "b", 2)
    with pytest.raises(Refused, match="there are db, web"):
        locks.claim("default", "a", 3)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (params("a"), {}),
        (b"{", GOOD),
        (b"[" * 60_000, GOOD),
        ([], GOOD),
        ({"client_params": {"id": "a"}}, GOOD),
        ({"client_params": {"id": 1, "group": "default"}}, GOOD),
        (params("a\n"), GOOD),
        (params("a", "other"), GOOD),
        (b" " * (MAX_BODY + 1), GOOD),
    ],
)
def test_a_request_that_is_not_the_protocol_s_takes_no_lock(book: FileBook, body: Any, headers: dict[str, str]) -> None:
    with served(None, RebootLocks(book, {"default": 1})) as port:
        status, said = ask(port, "POST", "/v1/pre-reboot", body, headers)
        assert status == 400
        assert set(json.loads(said)) == {"kind", "value"}
        assert book.read() == {}
        assert ask(port, "POST", "/v1/other", params("a"), GOOD)[0] == 404


def test_locks_that_cannot_be_read_are_given_to_nobody(book: FileBook) -> None:
    book.path.write_text('{"format": 1, "groups": {"default": ["a"]}}')
    with served(None, RebootLocks(book, {"default": 1})) as port:
        assert ask(port, "POST", "/v1/pre-reboot", params("a"), GOOD)[0] == 503


def test_a_repository_s_files_are_served_in_pieces_and_nothing_else_is(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    (root / "metadata").mkdir(parents=True)
    (root / "metadata/timestamp.json").write_bytes(b"0123456789")
    (root / ".lock").write_text("hidden")
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret")
    with served(root, None) as port:
        path = "/metadata/timestamp.json"
        assert ask(port, "GET", path) == (200, b"0123456789")
        assert ask(port, "HEAD", path) == (200, b"")
        assert ask(port, "GET", path, headers={"Range": "bytes=4-"}) == (206, b"456789")
        assert ask(port, "GET", path, headers={"Range": "bytes=4-5"}) == (206, b"45")
        assert ask(port, "GET", path, headers={"Range": "bytes=10-"})[0] == 416
        for other in (
            "/",
            "/metadata",
            "/.lock",
            "/out",
            "/../secret",
            "/%2e%2e/secret",
            "/metadata/../../secret",
            "/%00",
        ):
            assert ask(port, "GET", other)[0] == 404
        assert ask(port, "POST", "/v1/pre-reboot", params("a"), GOOD)[0] == 404


def test_a_person_sees_who_holds_a_lock_and_frees_it(book: FileBook, capsys: pytest.CaptureFixture[str]) -> None:
    RebootLocks(book, {"web": 1}).claim("web", "a", 1_800_000_000)
    listed = run_command(capsys, "serve", "--locks", str(book.path), "--list-locks")
    assert (listed.status, listed.out) == (0, "web/a since 2027-01-15T08:00:00Z\n")
    refused = run_command(capsys, "serve", "--locks", str(book.path), "--free", "web/b")
    assert refused.status == 2
    assert "no such lock is held" in refused.err
    assert run_command(capsys, "serve", "--locks", str(book.path), "--free", "web/a").status == 0
    assert not release_lock(book, "web", "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to serve"),
        (("nowhere",), "nowhere is no repository"),
        (("--group", "web=1"), "nothing says where it is written who holds locks"),
        (("--etcd", "etcd:2379"), "is no URL that starts with http:// or https://"),
        (("--etcd", "https://etcd", "--etcd-key", "key"), "wants its key, and a key its certificate"),
        (("--locks", "nowhere/locks.json"), "nowhere is no directory"),
        (("--locks", "locks.json", "--group", "web"), "'web' is no group and its number of locks"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, "serve", *arguments)
    assert outcome.status in (2, 3)
    assert message in outcome.err


def test_a_file_of_locks_that_is_a_directory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "serve", "--locks", str(tmp_path), "--list-locks")
    assert outcome.status == 2
    assert f"cannot read {tmp_path}: Is a directory" in outcome.err


def test_a_group_has_at_least_one_lock() -> None:
    assert parse_group("web=3") == ("web", 3)
    for text in ("web=0", "web=-1", "=1", "web=x", "a b=1"):
        with pytest.raises(InputError):
            parse_group(text)
