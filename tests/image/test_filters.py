"""Filters of scripts, run by the programs of the tools tree with nothing but what they are handed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core import filters as core_filters
from builder.core.filters import FilterCall, ToolFilters
from builder.core.tools import Tools
from tests.support.filters import read_recording

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def filters(tools: Tools) -> Iterator[ToolFilters]:
    with ToolFilters(tools) as running:
        yield running


def test_the_programs_answer_as_unit_tests_have_it(filters: ToolFilters) -> None:
    # A program that awk writes to and that is not there: awk dies of SIGPIPE, or the other one complains first.
    known = {call: result for call, result in read_recording().items() if not any('| "' in word for word in call.argv)}
    assert {call: filters.run(call) for call in known} == known


@pytest.mark.parametrize("path", ["/etc/passwd", "/usr/bin/sed", "/proc/self/status", "/dev/null", "/root", "/tmp"])
def test_a_filter_finds_nothing_of_the_host_or_of_the_tools(filters: ToolFilters, path: str) -> None:
    result = filters.run(FilterCall("mawk", ("awk", f'BEGIN {{print (getline line < "{path}")}}')))
    assert (result.output, result.read) == ("-1\n", ())
    assert "No such file" in filters.run(FilterCall("grep", ("grep", "x", path))).complaints


def test_a_filter_starts_no_other_program_and_writes_nothing_of_ours(filters: ToolFilters) -> None:
    result = filters.run(FilterCall("mawk", ("awk", 'BEGIN {"ls" | getline line; close("ls"); print system("ls")}')))
    assert "failed to exec" in result.complaints
    assert result.files == {}
    assert filters.run(FilterCall("mawk", ("awk", 'BEGIN {print 1 | "cat > /x"; close("cat > /x")}'))).files == {}
    result = filters.run(FilterCall("sed", ("sed", "w /.build-os/usr/x"), "a\n"))
    assert "Read-only file system" in result.complaints


def test_a_call_leaves_nothing_for_the_next_one(filters: ToolFilters) -> None:
    first = FilterCall("sed", ("sed", "-n", "w /d/new"), "a\n", files=(("/d/old", "b\n"),), links=(("/l", "/d/old"),))
    assert filters.run(first).files == {"/d/new": "a\n"}
    for path in ("/d/new", "/d/old", "/l"):
        assert filters.run(FilterCall("sed", ("sed", "", path))).status == 2


def test_what_takes_or_writes_too_much_is_ended(filters: ToolFilters) -> None:
    assert filters.run(FilterCall("mawk", ("awk", "BEGIN {while (1) i++}"))).gone_over == "takes longer than 5 seconds"
    assert filters.run(FilterCall("seq", ("seq", "99999999"))).gone_over == "writes more than 4194304 bytes"
    assert filters.run(FilterCall("seq", ("seq", "2"))).output == "1\n2\n"


def test_text_that_is_none_comes_through_as_it_is(filters: ToolFilters) -> None:
    given = bytes(range(1, 256)).decode(errors="surrogateescape")
    assert filters.run(FilterCall("sed", ("sed", ""), given)).output == given
    assert filters.run(FilterCall("tac", ("tac", "/f"), files=(("/f", given),))).read == ("/f",)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (FilterCall("wc", ("wc", "-c"), "a" * (5 << 20)), "File too large"),
        (FilterCall("sed", ("sed", f"s/a/{'b' * 200_000}/"), "a\n"), "Argument list too long"),
        (FilterCall("sed", ("sed", "s/a/\0/"), "a\n"), "embedded null byte"),
        (FilterCall("sed", ("sed", "p"), "a\n", directory="/gone"), "No such file or directory"),
        (FilterCall("sed", ("sed", "p"), files=(("/a", ""), ("/a/b", ""))), "File exists"),
    ],
    ids=["input", "argument", "null", "directory", "parent"],
)
def test_what_cannot_be_run_is_refused_and_the_next_call_is_answered(
    filters: ToolFilters, call: FilterCall, reason: str
) -> None:
    assert filters.run(call).refused == reason
    assert filters.run(FilterCall("sed", ("sed", f"s/a/{reason}/"), "a\n")).output == f"{reason}\n"


def test_who_waits_is_ended_after_another_one_was(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / "server.py"
    server.write_text(core_filters.SERVER.read_text().replace("WAITS = 12", "WAITS = 1"))
    monkeypatch.setattr(core_filters, "SERVER", server)
    monkeypatch.setattr(core_filters, "SECONDS", 1)
    with ToolFilters(tools) as filters:
        assert {filters.run(FilterCall("sleep", ("sleep", str(seconds)))).gone_over for seconds in (3, 4)} == {
            "takes longer than 1 seconds"
        }


def test_who_is_interrupted_is_not_given_the_answer_later(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    with ToolFilters(tools) as filters:
        filters.run(FilterCall("seq", ("seq", "1")))
        with monkeypatch.context() as patch:
            patch.setattr(core_filters, "_exchange", interrupt)
            with pytest.raises(KeyboardInterrupt):
                filters.run(FilterCall("seq", ("seq", "2")))
        assert filters.run(FilterCall("seq", ("seq", "3"))).output == "1\n2\n3\n"


def interrupt(process: subprocess.Popen[bytes], question: bytes) -> bytes:
    """Ask, and do not wait for the answer."""
    assert process.stdin is not None
    process.stdin.write(question)
    process.stdin.flush()
    raise KeyboardInterrupt
