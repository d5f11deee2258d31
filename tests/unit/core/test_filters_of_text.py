"""Who runs filters of text asks each question once, keeps the answers, and says why there is none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from builder.core import enter
from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError, ToolError
from builder.core.filters import FilterCall, ToolFilters
from builder.core.store import Store
from builder.core.tools import Tools

pytestmark = pytest.mark.unit

ANSWER = {"status": 0, "output": "b\n", "complaints": "", "reads_input": True, "read": ["/f"], "files": {"/g": "c"}}
CALL = FilterCall("sed", ("sed", "s/a/b/w /g", "/f"), files=(("/f", "a\n"),))
OTHER = FilterCall("sed", ("sed", "s/a/c/"), "a\n")


class Server:
    """A process that has answered the first line already."""

    def __init__(self, answer: bytes, status: int | None = None, said: bytes = b"") -> None:
        self.stdin, self.stdout, self.said = io.BytesIO(), io.BytesIO(answer), said
        self.returncode = status
        self.killed = False

    def poll(self) -> int | None:
        return None

    def kill(self) -> None:
        self.killed = True

    def communicate(self) -> tuple[bytes, bytes]:
        return b"", self.said


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    root = tmp_path / "tools" / "key"
    for path in ("usr/bin/sed", "usr/bin/python3", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return Tools(root, QuietConsole())


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """The processes that were started; each test says what the first one answers."""
    begun: list[Server] = []

    def start(_tools: Tools, *command: str) -> Server:
        begun.append(Server(json.dumps({**ANSWER, "id": 1}).encode() + b"\n"))
        return begun[-1]

    monkeypatch.setattr(Tools, "start_in_empty_root", start)
    return begun


def test_a_question_is_asked_once_and_its_answer_is_kept_for_the_next_build(
    tools: Tools, started: list[Server], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    with ToolFilters(tools, store) as filters:
        first = filters.run(CALL)
        assert (first.status, first.output, first.read, first.files) == (0, "b\n", ("/f",), {"/g": "c"})
        assert filters.run(CALL) == first
    (server,) = started
    assert json.loads(server.stdin.getvalue())["files"] == {"/f": "a\n"}
    with ToolFilters(tools, store) as filters:
        assert filters.run(CALL) == first
    assert started == [server]
    other = Tools(tools.root.with_name("other"), tools.console)
    tools.root.rename(other.root)
    with ToolFilters(other, store) as filters:
        filters.run(CALL)
    assert len(started) == 2


def test_the_answers_that_came_first_are_forgotten_when_they_are_too_many_bytes(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    size = len(json.dumps(ANSWER)) + 64  # with its key
    monkeypatch.setattr("builder.core.filters.MAX_KEPT", 2 * size)
    monkeypatch.setattr(ToolFilters, "_ask", lambda *_: dict(ANSWER))
    store = Store(tmp_path / "store")
    calls = [FilterCall("sed", ("sed", str(number))) for number in range(4)]
    for call in calls:
        with ToolFilters(tools, store) as filters:
            filters.run(call)
    asked: list[FilterCall] = []
    monkeypatch.setattr(ToolFilters, "_ask", lambda _, call: asked.append(call) or dict(ANSWER))
    with ToolFilters(tools, store) as filters:
        for call in reversed(calls):
            filters.run(call)
    assert asked == calls[1::-1]


class Interrupted(io.BytesIO):
    """An answer that nobody waits for."""

    def readline(self, *_: Any) -> bytes:
        raise KeyboardInterrupt


def test_who_is_interrupted_takes_no_answer_for_that_to_another_question(
    tools: Tools, started: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ToolFilters(tools) as filters:
        filters.run(CALL)
        started[0].stdout = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            filters.run(OTHER)
        assert started[0].killed
        again = Server(json.dumps({**ANSWER, "output": "c\n", "id": 3}).encode() + b"\n")
        monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: again)
        assert filters.run(OTHER).output == "c\n"


def test_a_process_is_not_asked_that_was_being_looked_at_when_somebody_interrupted(
    tools: Tools, started: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with ToolFilters(tools) as filters:
        filters.run(CALL)
        monkeypatch.setattr(started[0], "poll", interrupt)
        with pytest.raises(KeyboardInterrupt):
            filters.run(OTHER)
        again = Server(json.dumps({**ANSWER, "output": "c\n", "id": 3}).encode() + b"\n")
        monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: again)
        assert filters.run(OTHER).output == "c\n"


def run_and_fail(filters: ToolFilters) -> None:
    with filters:
        filters.run(CALL)
        raise KeyboardInterrupt


def test_who_is_interrupted_keeps_no_answers(tools: Tools, started: list[Server], tmp_path: Path) -> None:
    filters = ToolFilters(tools, Store(tmp_path / "store"))
    with pytest.raises(KeyboardInterrupt):
        run_and_fail(filters)
    assert len(started) == 1
    assert not (tmp_path / "store" / "filters").exists()


def test_an_answer_to_another_question_is_none(tools: Tools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = Server(json.dumps({**ANSWER, "id": 7}).encode() + b"\n")
    monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: server)
    with ToolFilters(tools) as filters, pytest.raises(ToolError, match="the answer to another question"):
        filters.run(CALL)
    assert server.killed


@pytest.mark.parametrize(
    ("answer", "refused"), [({**ANSWER, "status": -24}, ""), ({"refused": "File too large"}, "File too large")]
)
def test_what_went_over_a_limit_is_not_kept(
    tools: Tools,
    started: list[Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    refused: str,
) -> None:
    lines = b"".join(json.dumps({**each, "id": number}).encode() + b"\n" for number, each in ((1, answer), (2, ANSWER)))
    monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: Server(lines))
    store = Store(tmp_path / "store")
    with ToolFilters(tools, store) as filters:
        result = filters.run(CALL)
        assert (result.status < 0, result.refused) == (True, refused)
    assert not (store.root / "filters").exists()
    with ToolFilters(tools, store) as filters:
        filters.run(CALL)
        assert filters.run(CALL).status == 0


def test_answers_under_other_limits_are_others(
    tools: Tools, started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    for seconds in (5, 6):
        monkeypatch.setattr("builder.core.filters.SECONDS", seconds)
        with ToolFilters(tools, store) as filters:
            filters.run(CALL)
    assert len(started) == 2


def test_a_store_that_cannot_be_written_keeps_nothing_and_ends_nothing(
    tools: Tools, started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Read-only file system")

    monkeypatch.setattr("builder.core.filters.seal_entry", refuse)
    with ToolFilters(tools, Store(tmp_path / "store")) as filters:
        assert filters.run(CALL).status == 0


def test_nothing_starts_where_nobody_asks(tools: Tools, started: list[Server], tmp_path: Path) -> None:
    with ToolFilters(tools, Store(tmp_path / "store")):
        pass
    assert started == []
    assert not (tmp_path / "store" / "filters").exists()


@pytest.mark.parametrize(
    ("answer", "status", "kind", "words"),
    [
        (b"", enter.CANNOT_ENTER, CapabilityError, "does not let us enter"),
        (b"", 1, ToolError, "sed failed with status 1"),
        (b'{"status": 0, "id": 1', 1, ToolError, "sed failed with status 1"),
    ],
)
def test_no_answer_says_why(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, answer: bytes, status: int, kind: type[Exception], words: str
) -> None:
    monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: Server(answer, status, b"why\n"))
    with ToolFilters(tools) as filters, pytest.raises(kind, match=words) as caught:
        filters.run(CALL)
    assert "why" in str(caught.value)


def test_a_program_that_the_tools_do_not_have_is_said(tools: Tools, started: list[Server]) -> None:
    with ToolFilters(tools) as filters, pytest.raises(CapabilityError, match="has no /usr/bin/mawk"):
        filters.run(FilterCall("mawk", ("awk", "1")))
    assert started == []


def test_the_root_is_empty_but_for_the_programs(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("subprocess.Popen", lambda argv, **options: seen.update(argv=argv, **options))
    tools.start_in_empty_root("python3", "-c", "pass")
    assert seen["argv"][4:] == [
        *("--closed", "--empty", str(tools.root)),
        *("/.build-os/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path"),
        *("/.build-os/usr/lib/x86_64-linux-gnu", "/.build-os/usr/bin/python3", "-c", "pass"),
    ]
    assert set(seen["env"]) == {"PYTHONHOME", "LC_ALL"}
    entered = []
    monkeypatch.setattr(enter, "unshare", entered.append)
    monkeypatch.setattr(enter, "die_with_parent", lambda: None)
    monkeypatch.setattr(enter, "give_up_rights", entered.append)
    monkeypatch.setattr(enter, "enter_empty", entered.append)
    monkeypatch.setattr(enter, "enter", lambda *_: pytest.fail("it would see the host"))
    monkeypatch.setattr(enter, "run_in_child", lambda work, *, first: entered.append(first) if first else work())
    enter.main(seen["argv"][4:])
    assert entered == [True, str(tools.root), None, True]
