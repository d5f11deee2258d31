"""Filters of text: sed(1), grep(1), awk(1) and their like, of the tools tree, run on what they are handed.

One process of the tools tree's Python serves all calls (:mod:`builder.core.filter_server`). Its root is empty: a
program finds the files of its call and no others, no network, no device, no other program. Its time and output are
bounded.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from builder.core import enter
from builder.core.errors import ToolError
from builder.core.kept import FILTERS, derive_key, read_entry, seal_entry
from builder.core.store import Store
from builder.core.tools import Tools

SERVER = Path(__file__).with_name("filter_server.py")
SECONDS = 5  # of the processor
BYTES = 4 << 20  # of output and of a file
MAX_KEPT = 32 << 20  # bytes of answers; who has more forgets those that were asked for first
# Where the locale lies that calls name; awk's ENVIRON is a call's environment and these.
FIXED = {"LOCPATH": f"{enter.PROGRAMS}/usr/lib/locale"}


@dataclass(frozen=True)
class FilterCall:
    """One run of a program.

    Attributes:
        program: its path below ``/usr/bin``; argv: as it is called.
        files, links: texts and targets by path; directories: what is there besides theirs.
        directory: where it is run, one of those.
    """

    program: str
    argv: tuple[str, ...]
    input: str = ""
    files: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ("/",)
    directory: str = "/"
    environment: tuple[tuple[str, str], ...] = ()

    def make_json_object(self) -> dict[str, object]:
        """For :mod:`builder.core.filter_server`."""
        return {
            **vars(self),
            "files": dict(self.files),
            "links": dict(self.links),
            "environment": {**dict(self.environment), **FIXED},
        }


@dataclass(frozen=True)
class FilterResult:
    """What became of a call.

    Attributes:
        status: how it exited; negative if a signal ended it or it was not run, whose output is nobody's.
        complaints: its error output.
        reads_input: it took something from its standard input.
        read: the files that it read; files: those that it wrote, with their texts.
        refused: why it could not be run on what it was handed; empty if it was.
    """

    status: int
    output: str
    complaints: str = ""
    reads_input: bool = False
    read: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    @property
    def gone_over(self) -> str:
        """The limit that it went over; empty if it did not."""
        limits = {
            signal.SIGXCPU: f"takes longer than {SECONDS} seconds",
            signal.SIGXFSZ: f"writes more than {BYTES} bytes",
        }
        return next((words for number, words in limits.items() if self.status == -number), "")


class Filters(Protocol):
    """Who runs filters."""

    def run(self, call: FilterCall) -> FilterResult:
        """Run a program to its end.

        Raises:
            CapabilityError: this machine does not let us, or the tools tree does not have the program.
        """


class ToolFilters:
    """Filters of a tools tree. The process that runs them starts with the first call and ends with the ``with`` block;
    a call that was made before is not made again, unless it went over a limit: another time it may not.

    Args:
        store: where the answers of this tools tree are kept; nowhere if there is none.
    """

    def __init__(self, tools: Tools, store: Store | None = None) -> None:
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0
        self._lock = threading.Lock()
        self._store = store
        server = hashlib.sha256(SERVER.read_bytes()).hexdigest()
        limits = f"{SECONDS} {BYTES} {enter.EMPTY_SIZE}"
        self._inputs = {"what": "filters", "tools": tools.root.name, "server": server, "limits": limits}
        entry = read_entry(store, FILTERS, derive_key(self._inputs)) if store is not None else None
        self._known: dict[str, dict[str, Any]] = {}
        if entry is not None:
            entry.touch()
            self._known = entry.value
        self._has_new = False

    def __enter__(self) -> ToolFilters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.communicate()  # it ends when nobody asks any more
        if self._has_new and self._store is not None and kind is None:
            with suppress(OSError):  # in a store that we cannot write
                seal_entry(
                    self._store, FILTERS, derive_key(self._inputs), inputs=self._inputs, value=_keep_last(self._known)
                )

    def run(self, call: FilterCall) -> FilterResult:
        key = hashlib.sha256(json.dumps(call.make_json_object()).encode()).hexdigest()
        with self._lock:
            answer = self._known.get(key)
            if answer is None:
                answer = self._ask(call)
                if "refused" in answer:
                    return FilterResult(-1, "", refused=answer["refused"])
                if answer["status"] >= 0:
                    self._known[key] = answer
                    self._has_new = True
        return FilterResult(**{**answer, "read": tuple(answer["read"])})

    def _ask(self, call: FilterCall) -> dict[str, Any]:
        self._tools.require(f"/usr/bin/{call.program}")
        self._asked += 1
        asked = self._asked
        question = json.dumps({**call.make_json_object(), "id": asked})
        process = self._start()
        answer: dict[str, Any] | None = None
        try:
            line = _exchange(process, question.encode() + b"\n")
            if line.endswith(b"\n"):
                answer = json.loads(line)
                if answer.pop("id") != asked:
                    raise ToolError(f"{call.argv[0]} was given the answer to another question")
        except BaseException:  # a limit of time, an interrupt: its answer would be taken for that to the next question
            self._process = None
            process.kill()
            process.communicate()
            raise
        if answer is None:
            self._process = None
            _, said = process.communicate()
            raise self._tools.make_error(call.argv, process.returncode, said.decode(errors="replace").splitlines())
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # Nobody's meanwhile: a poll() that is interrupted may leave a lock behind on which the next wait() never ends.
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            process = self._tools.start_in_empty_root(
                "python3",
                *("-S", "-P", "-B", "-c", SERVER.read_text()),
                *self._tools.require_loader(enter.PROGRAMS),
                *(f"{enter.PROGRAMS}/usr/bin", str(SECONDS), str(BYTES)),
            )
        self._process = process
        return process


def _keep_last(answers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those that came last, as many as may be kept; in the same order."""
    sizes = itertools.accumulate(len(key) + len(json.dumps(answers[key])) for key in reversed(answers))
    kept = sum(1 for _ in itertools.takewhile(lambda size: size <= MAX_KEPT, sizes))
    return dict(list(answers.items())[len(answers) - kept :])


def _exchange(process: subprocess.Popen[bytes], question: bytes) -> bytes:
    """The line that answers a question; a part of it, or nothing, from a process that has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(question)
        process.stdin.flush()
        return process.stdout.readline()
    except BrokenPipeError:
        return b""
