"""What a person, a pipe and a program see of a build, and what the log keeps."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from pathlib import Path

import pytest

from builder.core import console as module
from builder.core.console import (
    JsonConsole,
    PlainConsole,
    QuietConsole,
    TerminalConsole,
    format_seconds,
    format_size,
    make_console,
)
from builder.core.parallel import run_parallel
from builder.core.spans import Span

pytestmark = pytest.mark.unit


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> TerminalConsole:
    monkeypatch.setenv("NO_COLOR", "1")
    return TerminalConsole(stream=io.StringIO())


def written(console: PlainConsole | TerminalConsole | JsonConsole) -> str:
    stream = console._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def screen(console: TerminalConsole) -> list[str]:
    """The lines that a terminal shows after these bytes: CR goes to the start, ESC [ K clears to the end."""
    lines = [""]
    column = 0
    for token in re.findall(r"\r|\n|\033\[K|\033\[[0-9]+m|.", written(console), re.S):
        if token == "\r":
            column = 0
        elif token == "\n":
            lines.append("")
            column = 0
        elif token == "\033[K":
            lines[-1] = lines[-1][:column]
        elif not token.startswith("\033"):
            lines[-1] = lines[-1][:column] + token + lines[-1][column + 1 :]
            column += 1
    return lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00 s"),
        (0.421, "0.42 s"),
        (59.99, "59.99 s"),
        (59.997, "1 min 00 s"),
        (65.2, "1 min 05 s"),
        (119.7, "2 min 00 s"),
        (3600.0, "60 min 00 s"),
    ],
)
def test_durations_read_like_a_clock(value: float, text: str) -> None:
    assert format_seconds(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5 * 10**15, "5000.0 TB")],
)
def test_sizes_are_in_decimal_units(count: int, text: str) -> None:
    assert format_size(count) == text


def test_plain_says_a_step_when_it_closes_and_indents_what_is_inside(clock: Clock) -> None:
    console = PlainConsole(stream=io.StringIO())
    with console.open_step("build"):
        with console.open_step("lock"):
            clock.now += 1.5
            console.note("wrote os.lock")
        console.report_progress(1, 2, "B")
        console.warn("old index")
        clock.now += 60
    console.note("done")
    assert written(console) == ("    wrote os.lock\n  lock (1.50 s)\n  warning: old index\nbuild (1 min 02 s)\ndone\n")


@pytest.mark.parametrize(("error", "outcome"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_plain_says_how_a_step_ended_and_passes_the_exception_on(
    clock: Clock, error: type[BaseException], outcome: str
) -> None:
    console = PlainConsole(stream=io.StringIO())
    with pytest.raises(error), console.open_step("root"), console.open_step("mkfs"):
        raise error
    assert written(console) == f"  mkfs {outcome} (0.00 s)\nroot {outcome} (0.00 s)\n"


def test_terminal_shows_the_running_step_and_replaces_it_by_a_tick(clock: Clock, terminal: TerminalConsole) -> None:
    with terminal.open_step("Seal"):
        assert screen(terminal) == ["• Seal 0 s"]
        clock.now += 2
    assert screen(terminal) == ["✓ Seal 2.00 s", ""]


def test_terminal_draws_progress_in_place_and_seldom(clock: Clock, terminal: TerminalConsole) -> None:
    with terminal.open_step("fetch"):
        clock.now += 0.05
        terminal.report_progress(1_000_000, 4_000_000, "B")
        assert screen(terminal) == ["• fetch 0 s"]
        clock.now += 1
        terminal.report_progress(2_000_000, 4_000_000, "B")
        assert screen(terminal) == ["• fetch 2.0 MB of 4.0 MB 1 s"]
        clock.now += 1
        terminal.report_progress(3, 0, "packages")
        assert screen(terminal) == ["• fetch 3 packages 2 s"]
        clock.now += 1
        terminal.report_progress(3, 7, "packages")
        assert screen(terminal) == ["• fetch 3/7 packages 3 s"]
    assert screen(terminal) == ["✓ fetch 3.05 s", ""]


def test_terminal_keeps_notes_above_the_running_step(clock: Clock, terminal: TerminalConsole) -> None:
    with terminal.open_step("build"):
        with terminal.open_step("packages"):
            terminal.note("a note")
            terminal.warn("a warning")
            assert screen(terminal) == ["    a note", "    warning: a warning", "  • packages 0 s"]
        assert screen(terminal)[-2:] == ["  ✓ packages 0.00 s", "• build 0 s"]


@pytest.mark.parametrize(("error", "outcome"), [(OSError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_terminal_crosses_out_a_step_that_did_not_finish(
    clock: Clock, terminal: TerminalConsole, error: type[BaseException], outcome: str
) -> None:
    with pytest.raises(error), terminal.open_step("disk"):
        raise error
    assert screen(terminal) == [f"✗ disk {outcome} 0.00 s", ""]


def test_terminal_cuts_long_titles_to_one_line(clock: Clock, terminal: TerminalConsole) -> None:
    with terminal.open_step("x" * 300):
        (line,) = screen(terminal)
        assert len(line) <= 80


def test_terminal_uses_colour_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = TerminalConsole(stream=io.StringIO())
    with coloured.open_step("a"):
        pass
    assert "\033[32m✓\033[0m a" in written(coloured)
    monkeypatch.setenv("NO_COLOR", "")
    plain = TerminalConsole(stream=io.StringIO())
    with plain.open_step("a"):
        pass
    assert not re.search(r"\033\[[0-9]+m", written(plain))


def test_json_is_one_object_a_line_and_pairs_started_with_finished(clock: Clock) -> None:
    console = JsonConsole(stream=io.StringIO())
    with console.open_step("fetch"):
        clock.now += 1.23456
        console.report_progress(1, 2, "B")
        console.report_progress(2, 2, "B")
        console.note("ein Häkchen ✓")
        console.warn("careful")
    with pytest.raises(ValueError, match="no"), console.open_step("seal"):
        raise ValueError("no")
    assert [json.loads(line) for line in written(console).splitlines()] == [
        {"event": "started", "step": "fetch"},
        {"event": "progress", "done": 1, "total": 2, "unit": "B"},
        {"event": "note", "text": "ein Häkchen ✓"},
        {"event": "warning", "text": "careful"},
        {"event": "finished", "step": "fetch", "outcome": "done", "seconds": 1.235},
        {"event": "started", "step": "seal"},
        {"event": "finished", "step": "seal", "outcome": "failed", "seconds": 0.0},
    ]


@pytest.mark.parametrize("kind", [QuietConsole, PlainConsole, TerminalConsole, JsonConsole])
def test_every_console_writes_everything_to_the_log(kind: type[PlainConsole], clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "new" / "build.log"
    console = kind(path) if kind is QuietConsole else kind(path, io.StringIO())
    assert console.log_path is None
    assert not path.exists()
    with console.open_step("build"):
        console.log("+ mkfs.erofs out")
        console.note("noted")
        console.warn("warned")
    with pytest.raises(ValueError, match="no"), console.open_step("root"):
        raise ValueError("no")
    console.close()
    assert console.log_path == path
    assert path.read_text() == (
        "== build\n+ mkfs.erofs out\nnoted\nwarning: warned\n== build: done in 0.00 s\n"
        "== root\n== root: failed in 0.00 s\n"
    )


def test_log_takes_names_that_are_not_utf8(tmp_path: Path) -> None:
    console = QuietConsole(tmp_path / "build.log")
    console.log("caf\udce9")
    console.close()
    assert (tmp_path / "build.log").read_bytes() == b"caf?\n"


def test_what_was_done_when_is_kept(clock: Clock) -> None:
    console = QuietConsole()

    def fail() -> None:
        clock.now += 2
        raise ValueError("no disk")

    with console.open_step("lock"):
        clock.now += 3
        with pytest.raises(ValueError, match="no disk"), console.note_program("mkfs.erofs -T0 out"):
            fail()
    assert console.spans == [
        Span("mkfs.erofs -T0 out", ("lock",), 103.0, 105.0, is_program=True, outcome="failed"),
        Span("lock", (), 100.0, 105.0),
    ]
    assert [span.seconds for span in console.spans] == [2.0, 5.0]


@pytest.mark.parametrize(
    ("kind", "expected"), [("plain", PlainConsole), ("terminal", TerminalConsole), ("json", JsonConsole)]
)
def test_a_console_can_be_chosen(kind: str, expected: type[object]) -> None:
    assert type(make_console(kind)) is expected


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, TerminalConsole),
        (True, {"TERM": "dumb"}, PlainConsole),
        (True, {}, PlainConsole),
        (True, {"TERM": "xterm", "CI": "true"}, PlainConsole),
        (False, {"TERM": "xterm"}, PlainConsole),
    ],
)
def test_only_a_person_at_a_terminal_gets_moving_lines(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, environment: dict[str, str], expected: type[object]
) -> None:
    for name in ("TERM", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    assert type(make_console("auto")) is expected


def test_an_unknown_console_is_refused() -> None:
    with pytest.raises(ValueError, match="fancy"):
        make_console("fancy")


@pytest.mark.parametrize("kind", [PlainConsole, TerminalConsole])
def test_steps_beside_each_other_are_indented_below_the_step_that_began_them(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: type[PlainConsole | TerminalConsole]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = kind(stream=io.StringIO())
    both_open, first_closed = threading.Barrier(2), threading.Event()

    def first() -> None:
        with console.open_step("first"):
            both_open.wait(5)
            console.note("a word")
        first_closed.set()

    def second() -> None:
        with console.open_step("second"):
            both_open.wait(5)
            assert first_closed.wait(5)

    with console.open_step("indexes"):
        run_parallel(first, second, jobs=2)
    shown = screen(console) if isinstance(console, TerminalConsole) else written(console).split("\n")
    assert [line.replace("✓ ", "").split(" (")[0].removesuffix(" 0.00 s") for line in shown] == [
        "    a word", "  first", "  second", "indexes", "",
    ]  # fmt: skip


def test_a_second_build_leaves_the_log_of_the_first_alone(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    first, second = QuietConsole(log), QuietConsole(log)
    first.log("first begins")
    second.log("second waits")
    first.log("first goes on")
    assert log.read_text() == "first begins\nfirst goes on\n"
    assert second.log_path is None
    first.close()
    second.log("second begins")
    assert log.read_text() == "second waits\nsecond begins\n"
    second.close()
