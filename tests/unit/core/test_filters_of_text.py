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


class Server:
    """A process that answers every line with the same."""

    def __init__(self, answer: bytes, status: int | None = None, said: bytes = b"") -> None:
        self.stdin, self.stdout, self.said = io.BytesIO(), io.BytesIO(answer), said
        self.returncode = status

    def poll(self) -> int | None:
        return None

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
        begun.append(Server(json.dumps(ANSWER).encode() + b"\n"))
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


def test_nothing_starts_where_nobody_asks(tools: Tools, started: list[Server], tmp_path: Path) -> None:
    with ToolFilters(tools, Store(tmp_path / "store")):
        pass
    assert started == []
    assert not (tmp_path / "store" / "filters").exists()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(enter.CANNOT_ENTER, CapabilityError, "does not let us enter"), (1, ToolError, "sed failed with status 1")],
)
def test_no_answer_says_why(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], words: str
) -> None:
    monkeypatch.setattr(Tools, "start_in_empty_root", lambda *_: Server(b"", status, b"why\n"))
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
