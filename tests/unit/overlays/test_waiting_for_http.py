"""The program that waits until an app answers, run as systemd would: its arguments, and ``$MAINPID``."""

from __future__ import annotations

import http.server
import os
import runpy
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

PROGRAM = Path(__file__).parents[3] / "overlays" / "apps" / "usr" / "lib" / "build-os" / "wait-for-http"
NOBODY = str(1 << 22)  # no process has this number: Linux's are below


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its path says: /503 by status 503."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(int(self.path[1:]) if len(self.server.asked) < 3 else 200)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(address: str, path: str, seconds: str = "60", main: str | None = None) -> None:
        monkeypatch.delenv("MAINPID", raising=False)
        if main is not None:
            monkeypatch.setenv("MAINPID", main)
        monkeypatch.setattr("sys.argv", ["wait-for-http", address, path, seconds])
        runpy.run_path(str(PROGRAM))

    return run


def test_it_asks_until_the_answer_is_good(server: http.server.HTTPServer, wait: Callable[..., None]) -> None:
    wait(f"localhost:{server.server_port}", "/503", main=str(os.getpid()))
    assert server.asked == ["/503"] * 3  # type: ignore[attr-defined]


def test_it_says_what_it_was_answered_when_time_is_up(
    server: http.server.HTTPServer, wait: Callable[..., None]
) -> None:
    with pytest.raises(SystemExit, match=r"localhost:\d+/503: status 503"):
        wait(f"localhost:{server.server_port}", "/503", "-1")


def test_it_does_not_wait_for_an_app_that_has_ended(tmp_path: Path, wait: Callable[..., None]) -> None:
    # The socket is systemd's: it takes connections, and nobody is there to answer them.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "app.sock"))
        listening.listen()
        with pytest.raises(SystemExit, match="the main process has ended"):
            wait(str(tmp_path / "app.sock"), "/", main=NOBODY)
    with pytest.raises(SystemExit, match="the main process has ended"):
        wait("127.0.0.1:9", "/", main=NOBODY)


def test_a_check_of_the_health_has_no_main_process_to_look_at(tmp_path: Path, wait: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=r"none.sock /: .*No such file"):
        wait(str(tmp_path / "none.sock"), "/", "-1")
