"""What a program is started with, what it can see, and what is said when it fails."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.core import enter
from builder.core import tools as tools_module
from builder.core.console import QuietConsole
from builder.core.errors import BuildError, CapabilityError, ToolError
from builder.core.tools import Tools, can_enter, stop

pytestmark = pytest.mark.unit


class Log(QuietConsole):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


class FakeProcess:
    """A process that ends with what it was told; remembers how it was treated."""

    def __init__(self, status: int = 0, out: bytes = b"", err: bytes = b"", patience: int = 0) -> None:
        self.status, self.out, self.err = status, out, err
        self.returncode: int | None = None
        self.patience = patience  # how many signals it ignores
        self.treatment: list[str] = []
        self.input: bytes | None = None
        self.interrupt = False

    def communicate(self, data: bytes | None) -> tuple[bytes, bytes]:
        self.input = data
        if self.interrupt:
            raise KeyboardInterrupt
        self.returncode = self.status
        return self.out, self.err

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.treatment.append("terminate")
        if not self.patience:
            self.returncode = -signal.SIGTERM

    def kill(self) -> None:
        self.treatment.append("kill")
        self.returncode = -signal.SIGKILL

    def wait(self, timeout: float | None = None) -> int:
        self.treatment.append("wait")
        if self.returncode is None:
            if timeout is None:
                raise AssertionError("would wait for ever")
            raise subprocess.TimeoutExpired("fake", timeout)
        return self.returncode


Start = Callable[[FakeProcess], list[tuple[list[str], dict[str, Any]]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Let the next program be this process; returns the list of what was started."""

    def use(process: FakeProcess) -> list[tuple[list[str], dict[str, Any]]]:
        started: list[tuple[list[str], dict[str, Any]]] = []

        def popen(argv: list[str], **options: Any) -> FakeProcess:
            started.append((argv, options))
            return process

        monkeypatch.setattr(subprocess, "Popen", popen)
        return started

    return use


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def tools(tmp_path: Path, log: Log) -> Tools:
    for name in ("usr/bin/zstd", "usr/sbin/mke2fs", "usr/lib/systemd/systemd-x"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tree/usr/bin/awk").symlink_to("/etc/alternatives/awk")
    return Tools(tmp_path / "tree", log)


def test_the_command_line_enters_the_tree_and_leaves_the_hosts_python_settings_out(
    tools: Tools, tmp_path: Path
) -> None:
    argv = tools.make_argv(
        "zstd", "-q", tmp_path / "in", binds=[(tmp_path / "a", "/work"), (Path("/b"), "/x/y")], outlive=True
    )
    assert argv == [
        sys.executable,
        "-I",
        "-S",
        enter.__file__,
        f"--bind={tmp_path}/a:/work",
        "--bind=/b:/x/y",
        "--outlive",
        f"{tmp_path}/tree",
        "/usr/bin/zstd",
        "-q",
        f"{tmp_path}/in",
    ]
    assert tools.make_argv("zstd")[4:] == [f"{tmp_path}/tree", "/usr/bin/zstd"]


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ("zstd", "/usr/bin/zstd"),
        ("mke2fs", "/usr/sbin/mke2fs"),
        ("systemd-x", "/usr/lib/systemd/systemd-x"),
        ("awk", "/usr/bin/awk"),  # a link that only leads somewhere inside the tree
    ],
)
def test_programs_are_found_where_debian_puts_them(tools: Tools, program: str, path: str) -> None:
    assert tools.require(program) == path


def test_a_missing_program_is_named_before_anything_starts(tools: Tools) -> None:
    with pytest.raises(CapabilityError, match=r"the tools tree has no mkfs\.erofs") as caught:
        tools.run("mkfs.erofs", "out")
    assert caught.value.exit_code == 3
    assert "build-os doctor" in str(caught.value)
    assert tools.find("mkfs.erofs") is None


def test_nothing_of_our_environment_reaches_a_program(
    tools: Tools, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LANG", "LC_ALL", "HOME", "LD_PRELOAD", "PYTHONPATH", "TMPDIR", "SOURCE_DATE_EPOCH"):
        monkeypatch.setenv(name, "the user's own")
    started = start(FakeProcess())
    tools.run("zstd")
    assert started[0][1]["env"] == {
        "PATH": "/usr/bin:/usr/sbin:/usr/lib/systemd",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": "/nonexistent",
        "SOURCE_DATE_EPOCH": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_what_is_asked_for_is_added_to_the_environment(tools: Tools) -> None:
    with_epoch = Tools(tools.root, tools.console, {"SOURCE_DATE_EPOCH": "7", "A": "1"})
    found = with_epoch.make_environment({"A": "2", "B": "3"})
    assert (found["SOURCE_DATE_EPOCH"], found["A"], found["B"], found["TZ"]) == ("7", "2", "3", "UTC")


def test_run_returns_what_the_program_printed_and_logs_the_rest(tools: Tools, start: Start, log: Log) -> None:
    process = FakeProcess(out=b"hash: \xff\n", err=b"warning: slow\n")
    started = start(process)
    assert tools.run("zstd", "a file", input=b"stdin") == "hash: �\n"
    assert log.lines == ["+ zstd 'a file'", "warning: slow"]
    assert process.input == b"stdin"
    assert started[0][1]["stdin"] == subprocess.PIPE


def test_a_program_without_input_cannot_read_our_terminal(tools: Tools, start: Start) -> None:
    started = start(FakeProcess())
    tools.run("zstd")
    assert started[0][1]["stdin"] == subprocess.DEVNULL


def test_a_failure_has_the_command_and_its_last_lines(tools: Tools, start: Start, log: Log) -> None:
    err = b"".join(b"line %d\n" % number for number in range(100))
    start(FakeProcess(status=2, out=b"on stdout\n", err=err))
    with pytest.raises(ToolError, match=r"^zstd failed with status 2\n") as caught:
        tools.run("zstd", "-x", "a file")
    assert caught.value.exit_code == 4
    assert caught.value.details[0] == "+ zstd -x 'a file'"
    assert caught.value.details[1:] == tuple(f"line {number}" for number in range(60, 100))
    assert "line 0" in log.lines


def test_a_short_failure_shows_both_streams(tools: Tools, start: Start) -> None:
    start(FakeProcess(status=1, out=b"said\n", err=b"wrong\n"))
    with pytest.raises(ToolError) as caught:
        tools.run("zstd")
    assert str(caught.value) == "zstd failed with status 1\n  + zstd\n  said\n  wrong"


def test_a_killed_program_is_said_to_be_killed(tools: Tools, start: Start) -> None:
    start(FakeProcess(status=-signal.SIGKILL))
    with pytest.raises(ToolError, match="zstd was killed by SIGKILL"):
        tools.run("zstd")


def test_a_kernel_that_refuses_namespaces_is_no_fault_of_the_program(tools: Tools, start: Start) -> None:
    start(
        FakeProcess(status=enter.CANNOT_ENTER, err=b"cannot enter the tools tree: unshare: Operation not permitted\n")
    )
    with pytest.raises(CapabilityError, match="does not let us enter the tools tree") as caught:
        tools.run("zstd")
    assert "Operation not permitted" in str(caught.value)
    assert "user namespaces" in str(caught.value)


def test_ctrl_c_ends_the_program_before_we_go_on(tools: Tools, start: Start) -> None:
    process = FakeProcess()
    process.interrupt = True
    start(process)
    with pytest.raises(KeyboardInterrupt):
        tools.run("zstd")
    assert process.treatment[0] == "terminate"
    assert process.returncode is not None


def test_a_spawned_program_is_gone_after_the_block_even_if_that_fails(tools: Tools, start: Start, log: Log) -> None:
    process = FakeProcess()
    started = start(process)
    with pytest.raises(ValueError, match="no"), tools.spawn("zstd", "-d", new_session=True):
        raise ValueError("no")
    assert process.treatment[0] == "terminate"
    assert started[0][1]["start_new_session"] is True
    assert log.lines == ["+ zstd -d"]


def test_a_program_that_does_not_listen_is_killed() -> None:
    process = FakeProcess(patience=1)
    stop(process, 0.0)
    assert process.treatment == ["terminate", "wait", "kill", "wait"]


def test_a_program_that_has_ended_is_only_reaped() -> None:
    process = FakeProcess()
    process.returncode = 0
    stop(process)
    assert process.treatment == ["wait"]


@pytest.mark.parametrize(
    ("status", "err", "reason"),
    [(0, "", None), (125, "no user namespaces\n", "no user namespaces"), (1, "", "status 1")],
)
def test_the_probe_says_why_the_tree_cannot_be_entered(
    monkeypatch: pytest.MonkeyPatch, status: int, err: str, reason: str | None
) -> None:
    def run(argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        assert argv[-1] == "--probe"
        return subprocess.CompletedProcess(argv, status, "", err)

    monkeypatch.setattr(subprocess, "run", run)
    assert can_enter() == reason


def test_an_error_reads_as_what_details_and_what_to_try() -> None:
    error = BuildError("it broke", details=["here", "there"], hint="mend it")
    assert str(error) == "it broke\n  here\n  there\n  = mend it"
    assert str(BuildError("it broke")) == "it broke"


# --- the script that enters ----------------------------------------------------------------------


class Entered(Exception):
    """Where the script would have become another program."""


@pytest.fixture
def entering(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the script would do, recorded."""
    seen: dict[str, Any] = {"prctl": []}

    class Libc:
        def prctl(self, *arguments: int) -> int:
            seen["prctl"].append(arguments)
            return 0

    def record(tree: str, binds: list[tuple[str, str]], closed: bool) -> None:
        seen["tree"], seen["binds"], seen["closed"] = tree, binds, closed

    def execute(program: str, argv: list[str]) -> None:
        seen["argv"] = argv
        assert program == argv[0]
        raise Entered

    monkeypatch.setattr(enter, "libc", Libc())
    monkeypatch.setattr(enter, "unshare", lambda closed: None)
    monkeypatch.setattr(enter, "enter", record)
    monkeypatch.setattr(enter.os, "execv", execute)
    return seen


def test_the_script_reads_back_what_tools_write(entering: dict[str, Any], tools: Tools, tmp_path: Path) -> None:
    argv = tools.make_argv("zstd", "--bind=no", "x:y", binds=[(Path("/odd:name"), "/work"), (tmp_path, "/t")])
    with pytest.raises(Entered):
        enter.main(argv[4:])
    assert entering["tree"] == str(tools.root)
    assert entering["binds"] == [("/odd:name", "/work"), (str(tmp_path), "/t")]
    assert entering["argv"] == ["/usr/bin/zstd", "--bind=no", "x:y"]


def test_a_program_dies_with_us_unless_it_may_outlive_us(entering: dict[str, Any], tools: Tools) -> None:
    with pytest.raises(Entered):
        enter.main(tools.make_argv("zstd")[4:])
    assert entering["prctl"] == [(enter.PR_SET_PDEATHSIG, signal.SIGKILL)]
    entering["prctl"].clear()
    with pytest.raises(Entered):
        enter.main(tools.make_argv("zstd", outlive=True)[4:])
    assert entering["prctl"] == []


def test_a_refusal_of_the_kernel_has_a_status_of_its_own(
    entering: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    class Refused(Exception):
        pass

    def leave(status: int) -> None:
        raise Refused(status)

    monkeypatch.setattr(enter, "enter", refuse)
    monkeypatch.setattr(enter.os, "_exit", leave)
    with pytest.raises(Refused) as caught:
        enter.main(["/tree", "/usr/bin/zstd"])
    assert caught.value.args == (enter.CANNOT_ENTER,)
    assert "cannot enter the tools tree" in capsys.readouterr().err
    assert "argv" not in entering


def test_an_interrupt_ends_programs_that_other_threads_wait_for_and_starts_no_more(
    tools: Tools, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools_module, "_interrupted", threading.Event())
    begun = threading.Event()

    class Depmod(FakeProcess):
        def communicate(self, _: bytes | None = None) -> tuple[bytes, bytes]:
            begun.set()
            assert self.ended.wait(60), "it would have been waited for"
            self.returncode = -15
            return b"", b""

        def terminate(self) -> None:
            self.ended.set()

        ended = threading.Event()

    start(Depmod())
    failures: list[BaseException] = []

    def work() -> None:
        try:
            tools.run("zstd")
        except ToolError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    tools_module.end_programs()
    thread.join(60)
    assert "was killed by SIGTERM" in str(failures[0])
    with pytest.raises(ToolError, match="was not started: we were interrupted"):
        tools.run("zstd")
