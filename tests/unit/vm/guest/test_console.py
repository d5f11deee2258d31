"""The serial line: what is kept, what is noticed, and how waits end."""

from __future__ import annotations

import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.errors import VmError
from vm.guest import console
from vm.guest.console import MAX_LINE, MAX_MEMORY, SerialReader, Transcript, strip_controls
from vm.waiting.deadline import Deadline
from vm.waiting.wait import BadNews, Notifier

pytestmark = pytest.mark.unit


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make(**options: object) -> Transcript:
    return Transcript(Notifier(), **options)  # type: ignore[arg-type]


def soon(action: Callable[[], None]) -> None:
    timer = threading.Timer(0.05, action)
    timer.daemon = True
    timer.start()


def texts(transcript: Transcript) -> list[str]:
    return [line.text for line in transcript.list_lines()]


# What is kept


def test_lines_come_with_their_seconds_and_without_colours() -> None:
    clock = FakeClock()
    transcript = make(clock=clock)
    clock.now = 1.5
    transcript.feed(b"\x1b[0;32m[  OK  ]\x1b[0m Started\r\n")
    clock.now = 2.0
    transcript.feed(b"vm login: ")
    assert [(line.seconds, line.text) for line in transcript.list_lines()] == [
        (1.5, "[  OK  ] Started"),
        (2.0, "vm login: "),
    ]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[2J\x1b[01;01HBdsDxe: loading", "BdsDxe: loading"),
        (b"\x1b]0;title\x07prompt", "prompt"),
        (b"\x1b]104\x1b\\prompt", "prompt"),
        (b"\x1bP$q q\x1b\\x", "x"),
        (b"\x1b[!p\x1b[?7h\x1b[6nlogin: ", "login: "),
        (b"\x1bcreset", "reset"),
        (b"a\x00\x07\x08b\tc", "ab\tc"),
        (b"caf\xc3\xa9 \xff", "caf\u00e9 \ufffd"),
        (b"broken \x1b[31", "broken 31"),
    ],
)
def test_terminal_sequences_are_removed(raw: bytes, text: str) -> None:
    assert strip_controls(raw).strip() == text.strip()


def test_a_line_and_a_sequence_may_come_in_pieces() -> None:
    transcript = make()
    for byte in b"\x1b[31mKernel\x1b[0m \xc3\xa9\r\nnext":
        transcript.feed(bytes([byte]))
    assert texts(transcript) == ["Kernel \u00e9", "next"]


def test_the_log_has_seconds_and_a_mark_for_each_power_on(tmp_path: Path) -> None:
    clock = FakeClock()
    transcript = make(log=tmp_path / "serial.log", clock=clock)
    transcript.power_on()
    clock.now = 1.25
    transcript.feed(b"one\n")
    transcript.power_on()
    clock.now = 2.0
    transcript.feed(b"two")
    transcript.end()
    transcript.close()
    assert (tmp_path / "serial.log").read_text() == "    1.250 one\n    1.250 ---- power on ----\n    0.750 two\n"


def test_a_full_disk_does_not_stop_the_watching(tmp_path: Path) -> None:
    transcript = make(log=tmp_path / "missing" / "serial.log")
    transcript.feed(b"one\n")
    transcript.feed(b"two\n")
    assert texts(transcript) == ["one", "two"]
    assert transcript.log_error == "the serial log is incomplete: No such file or directory"
    transcript.close()


def test_a_flood_is_bounded_in_memory_and_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "MAX_LOG", 1 << 20)
    transcript = make(log=tmp_path / "serial.log")
    chunk = (b"0123456789abcdef" * 60 + b"\r\n") * 64
    while transcript.received < 100 << 20:
        transcript.feed(chunk)
    transcript.feed(b"the last line\n")
    transcript.close()
    assert sum(len(line.text) for line in transcript.list_lines()) < MAX_MEMORY
    log = (tmp_path / "serial.log").read_text()
    assert len(log) < 2 << 20
    assert "characters left out" in log
    assert log.endswith("the last line\n")


def test_a_flood_of_short_lines_takes_no_more_memory() -> None:
    transcript = make()
    for _ in range(20):
        transcript.feed(b"x\n" * 10_000)
    tracemalloc.start()
    try:
        for _ in range(10):
            transcript.feed(b"y\n" * 10_000)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 2 * MAX_MEMORY
    assert transcript.position == 300_000


def test_a_line_without_an_end_is_cut() -> None:
    transcript = make()
    for _ in range(100):
        transcript.feed(b"x" * 65536)
    lines = transcript.list_lines()
    assert max(len(line.text) for line in lines) == MAX_LINE
    assert sum(len(line.text) for line in lines) <= MAX_MEMORY + MAX_LINE


def test_a_reader_moves_everything_and_tells_the_end() -> None:
    ours, theirs = socket.socketpair()
    transcript = make()
    reader = SerialReader(ours, transcript)
    reader.start()
    theirs.sendall(b"one\ntwo")
    theirs.close()
    reader.join(5)
    ours.close()
    assert texts(transcript) == ["one", "two"]
    assert transcript.ended


# How waits end


def test_a_wait_ends_with_the_pattern_even_without_a_line_end() -> None:
    transcript = make()
    soon(lambda: transcript.feed(b"booting\nvm login: "))
    assert transcript.wait_for(r"login: $", Deadline(60)).text == "vm login: "


def test_a_pattern_that_is_there_already_is_found() -> None:
    transcript = make()
    transcript.feed(b"one\ntwo\n")
    assert transcript.wait_for("one", Deadline(0)).text == "one"
    with pytest.raises(VmError):
        transcript.wait_for("one", Deadline(0), since=1)


def test_a_pattern_that_grows_at_the_end_of_a_line_is_found() -> None:
    transcript = make()
    transcript.feed(b"ready to")
    soon(lambda: transcript.feed(b" serve\n"))
    assert transcript.wait_for("ready to serve", Deadline(60)).text == "ready to serve"


def test_a_wait_ends_with_a_bad_sign() -> None:
    transcript = make()
    soon(lambda: transcript.feed(b"[ 1.0] Kernel panic - not syncing: VFS\nmore\n"))
    with pytest.raises(VmError) as caught:
        transcript.wait_for("login:", Deadline(60))
    assert caught.value.what == (
        "the console shows a kernel panic: [ 1.0] Kernel panic - not syncing: VFS"
        " (while waiting for /login:/ on the console)"
    )
    assert caught.value.details[-1] == "more"


def test_a_bad_sign_that_was_there_before_ends_the_next_wait() -> None:
    transcript = make()
    transcript.feed(b"Oops: 0000 [#1]\n")
    with pytest.raises(VmError, match="a kernel oops"):
        transcript.wait_for("login:", Deadline(60))


def test_a_wait_ends_with_the_end_of_qemu() -> None:
    transcript = make()
    transcript.feed(b"last words\n")
    gone = BadNews("QEMU ended with status 1", ("out of memory",))
    with pytest.raises(VmError) as caught:
        transcript.wait_for("login:", Deadline(60), bad_news=lambda: gone)
    assert caught.value.what.startswith("QEMU ended with status 1 (while waiting for")
    assert caught.value.details == ("out of memory",)


def test_what_was_hoped_for_counts_even_if_the_end_follows_it() -> None:
    transcript = make()
    transcript.feed(b"test passed\n")
    line = transcript.wait_for("test passed", Deadline(60), bad_news=lambda: BadNews("QEMU ended with status 0"))
    assert line.text == "test passed"


def test_last_words_that_come_after_we_looked_are_heard() -> None:
    transcript = make()

    def gone() -> BadNews:
        transcript.feed(b"test passed\n")
        return BadNews("QEMU ended with status 0")

    assert transcript.wait_for("test passed", Deadline(60), bad_news=gone).text == "test passed"


def test_a_wait_ends_with_the_deadline_and_shows_the_last_lines() -> None:
    transcript = make()
    transcript.feed(b"".join(b"line %d\n" % number for number in range(40)))
    started = time.monotonic()
    with pytest.raises(VmError) as caught:
        transcript.wait_for("login:", Deadline(0.1))
    assert time.monotonic() - started < 30
    assert caught.value.what == "/login:/ on the console did not come within 0.1 s"
    assert caught.value.details == tuple(f"line {number}" for number in range(25, 40))


def test_an_allowed_line_is_no_bad_sign() -> None:
    transcript = make(allow=[re.compile("expected panic")])
    transcript.feed(b"Kernel panic - not syncing: expected panic\nlogin: ")
    assert transcript.sightings == ()
    transcript.wait_for("login: ", Deadline(0))


def test_bad_signs_do_not_pile_up_without_end() -> None:
    transcript = make()
    transcript.feed(b"Oops: again\n" * 1000)
    assert len(transcript.sightings) == console.MAX_SIGHTINGS


def test_a_terminal_gets_the_bytes_as_they_come() -> None:
    echoed: list[bytes] = []
    transcript = make(echo=echoed.append)
    transcript.feed(b"\x1b[31mred")
    assert echoed == [b"\x1b[31mred"]
