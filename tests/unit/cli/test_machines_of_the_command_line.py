"""``run``, ``machine`` and ``ssh`` as their user sees them, with machines that are only processes and folders."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.cli.machines import open_kept_machines
from builder.cli.run import choose_folder, prepare_folder
from builder.cli.ssh import split_target
from builder.cli.starting import describe_access, describe_end, describe_failure, describe_leaving
from builder.core.console import QuietConsole
from builder.core.errors import InputError, VmError
from builder.core.store import Store
from tests.support.command import Outcome, run_command
from vm.guest.bad_signs import find_bad_sign
from vm.guest.console import Line, Sighting
from vm.registry.kept import KeptMachine
from vm.registry.running import Registry, RunningMachine, locate_registry
from vm.spec import Accel, Disk, Kernel, VmSpec
from vm.spec.folder import MachineFolder

pytestmark = pytest.mark.unit

BuildOs = Callable[..., Outcome]


@pytest.fixture
def build_os(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BuildOs:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("BUILD_OS_CACHE", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest needs its own
    return partial(run_command, capsys)


def runs(tmp_path: Path, name: str, folder: MachineFolder | None = None) -> Registry:
    """A machine runs: our own process stands for it."""
    registry = Registry(locate_registry(os.environ, Store.open()))
    folder = folder or MachineFolder(tmp_path / name)
    folder.create()
    registry.add(RunningMachine.describe(name, os.getpid(), folder, {22: 40022}, "core", tmp_path / "key"))
    return registry


def keep(name: str) -> MachineFolder:
    folder = open_kept_machines().locate_folder(name)
    folder.create()
    folder.locate_disk(0).write_text("data")
    spec = VmSpec(name, "amd64", Accel.TCG, (Disk(folder.locate_disk(0), kept=True),), kernel=Kernel(Path("k")))
    open_kept_machines().add(
        KeptMachine(name, "demo", "1.0.0", "ab", Path("/gone/out/build.json"), Path("/gone"), spec)
    )
    return folder


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines end when they are asked to."""
    monkeypatch.setattr("vm.registry.running.ask_monitor", lambda *_: None)
    alive = iter([True, True])
    monkeypatch.setattr(RunningMachine, "alive", property(lambda _: next(alive, False)))
    monkeypatch.setattr("vm.registry.running._signal", lambda *_: None)


def test_the_list_says_what_runs_what_is_off_and_whose_disk_stays(build_os: BuildOs, tmp_path: Path) -> None:
    assert build_os("machine", "list") == Outcome(0, "", "")
    keep("web")
    runs(tmp_path, "demo")
    lines = build_os("machine", "list").out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["demo", "running", "goes"], ["web", "off", "kept"]]
    assert "40022->22" in lines[1]
    assert build_os("ssh", "--list").out == build_os("run", "--list").out == "\n".join(lines) + "\n"
    rows = json.loads(build_os("machine", "list", "--json").out)
    assert [(row["name"], row["pid"], row["image"]) for row in rows] == [
        ("demo", os.getpid(), "-"),
        ("web", None, "demo 1.0.0"),
    ]


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("command", [("ssh", "--stop"), ("machine", "stop"), ("run", "--stop", "demo")])
def test_stopping_says_that_the_disk_is_deleted(build_os: BuildOs, tmp_path: Path, command: tuple[str, ...]) -> None:
    runs(tmp_path, "demo")
    disk = MachineFolder(tmp_path / "demo").locate_disk(0)
    disk.write_text("data")
    outcome = build_os(*command)
    assert "demo is off, and its disk is deleted ('build-os run --keep' makes one that stays)" in outcome.err
    assert not disk.exists()


@pytest.mark.usefixtures("ends")
def test_stopping_a_kept_machine_keeps_its_disk_and_says_how_to_start_it(build_os: BuildOs, tmp_path: Path) -> None:
    folder = keep("web")
    runs(tmp_path, "web", folder)
    outcome = build_os("machine", "stop")
    assert "web is off, and its disk is kept: 'build-os machine start web'" in outcome.err
    assert folder.locate_disk(0).read_text() == "data"


def test_a_machine_that_is_off_is_told_from_one_that_is_not_there(build_os: BuildOs) -> None:
    keep("web")
    assert build_os("ssh", "web") == Outcome(2, "", "error: web is off\n  = 'build-os machine start web'\n")
    assert "off: web ('build-os machine start')" in build_os("ssh").err
    assert "no machine named demo runs" in build_os("machine", "stop", "demo").err


def test_only_a_kept_machine_that_is_off_is_deleted(build_os: BuildOs, tmp_path: Path) -> None:
    folder = keep("web")
    assert "no machine named other is kept\n  = kept: web" in build_os("machine", "rm", "other").err
    registry = runs(tmp_path, "web", folder)
    outcome = build_os("machine", "rm", "web")
    assert (outcome.status, "web runs" in outcome.err) == (2, True)
    assert folder.locate_disk(0).read_text() == "data"
    (registry.root / "web.json").unlink()
    assert "web is deleted, with its disk" in build_os("machine", "rm", "web").err
    assert not folder.root.exists()


def test_a_kept_machine_whose_tools_are_gone_says_where_to_build(build_os: BuildOs) -> None:
    keep("web")
    outcome = build_os("machine", "start")
    assert "the tools tree that web was made with is gone" in outcome.err
    assert "'build-os build' makes it anew, in /gone" in outcome.err


def test_a_console_needs_a_terminal(build_os: BuildOs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(tmp_path, "demo")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    outcome = build_os("machine", "console")
    assert (outcome.status, "serial.log" in outcome.err) == (2, True)


@pytest.mark.parametrize(
    ("typed", "words", "expected"),
    [
        (["ssh"], [], ("", [])),
        (["ssh", "demo"], ["demo"], ("demo", [])),
        (["ssh", "demo", "uptime"], ["demo", "uptime"], ("demo", ["uptime"])),
        (["ssh", "--", "uptime"], ["uptime"], ("", ["uptime"])),
        (["ssh", "--", "ls", "-l", "--", "x"], ["ls", "-l", "--", "x"], ("", ["ls", "-l", "--", "x"])),
        (["ssh", "core@demo", "--", "ls", "-l"], ["core@demo", "ls", "-l"], ("core@demo", ["ls", "-l"])),
    ],
)
def test_what_comes_after_two_dashes_is_a_command(
    typed: list[str], words: list[str], expected: tuple[str, list[str]]
) -> None:
    assert split_target(words, typed) == expected


def test_options_of_a_command_in_the_machine_are_no_options_of_ours(build_os: BuildOs) -> None:
    outcome = build_os("ssh", "demo", "ls", "-l")
    assert (outcome.status, "write -- before a command for the machine" in outcome.err) == (2, True)


@pytest.mark.parametrize("name", ["x/y", ".x", ""])
def test_a_machine_with_a_name_that_is_none_is_refused_before_anything_is_made(build_os: BuildOs, name: str) -> None:
    outcome = build_os("run", "--detach", "--name", name)
    assert (outcome.status, "cannot be the name of a machine" in outcome.err) == (2, True)


@pytest.mark.parametrize("content", [b"QFI\xfb", b"name: demo\n"])
def test_a_file_that_is_no_build_is_told_from_one(build_os: BuildOs, content: bytes) -> None:
    Path("other").write_bytes(content)
    outcome = build_os("run", "other", "--detach")
    assert "other is not a build.json" in outcome.err
    assert "= name the build.json that 'build-os build' prints" in outcome.err


def test_a_command_needs_no_name_where_one_machine_runs(
    build_os: BuildOs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(tmp_path, "demo")
    (tmp_path / "demo" / "tools").write_text(str(tmp_path / "tree"))
    ran: list[list[str]] = []

    class Done:
        returncode = 7

    monkeypatch.setattr("builder.core.tools.Tools.require", lambda *_: "/usr/bin/ssh")
    monkeypatch.setattr("builder.cli.ssh.subprocess.run", lambda command, **_: ran.append(command) or Done())
    assert build_os("ssh", "--", "ls", "-l").status == 7
    assert ran[-1][-3:] == ["core@127.0.0.1", "ls", "-l"]
    assert build_os("ssh", "--root", "--", "id").status == 7
    assert ran[-1][-2:] == ["root@127.0.0.1", "id"]
    assert "as alice or as root?" in build_os("ssh", "--root", "alice@demo").err


def sighting(text: str) -> Sighting:
    (found,) = find_bad_sign([text], emulated=True)
    return Sighting(Line(1.0, text), found[1], 0.0)


def test_a_unit_that_failed_is_named_once_with_how_to_look() -> None:
    seen = tuple(
        map(
            sighting,
            [
                "[FAILED] Failed to start bad.service - Fails.",
                "[   12.3] systemd[1]: Failed to start bad.service - Fails.",
                "[DEPEND] Dependency failed for other.target - O.",
                "Traceback (most recent call last):",
            ],
        )
    )
    assert describe_failure(seen, "web", can_ssh=True) == [
        "bad.service has failed; to look: build-os ssh --root web -- journalctl -b -u bad.service",
        "other.target has failed; to look: build-os ssh --root web -- journalctl -b -u other.target",
        "the console shows a Python traceback: Traceback (most recent call last):",
    ]
    assert describe_failure(seen[:1], "web", can_ssh=False) == [
        "bad.service has failed; to look: build-os machine console web"
    ]


def test_nobody_is_promised_a_login_that_is_not_there() -> None:
    assert "'build-os ssh' logs in as core, 'build-os ssh --root' as root" in describe_access(
        "web", "core", can_ssh=True
    )
    assert "ssh" not in describe_access("web", None, can_ssh=False).replace("it has no ssh", "")
    assert "with a key that its config has" in describe_access("web", None, can_ssh=True)
    assert "is deleted when it stops" in describe_end("web", kept=False)
    assert "its disk is deleted then" in describe_leaving(keep=False)
    assert "its disk is kept" in describe_leaving(keep=True)


@pytest.mark.parametrize(
    ("error", "left"),
    [(KeyboardInterrupt(), []), (VmError("the first boot failed"), ["serial.log"])],
    ids=["interrupted", "failed"],
)
def test_a_machine_that_never_became_one_is_no_machine(
    build_os: BuildOs, tmp_path: Path, error: BaseException, left: list[str]
) -> None:
    registry = Registry(locate_registry(os.environ, Store.open()))
    args = argparse.Namespace(name="web", keep=True, image=Path("out/build.json"))
    host: Any = SimpleNamespace(image=SimpleNamespace(name="demo"))
    console = QuietConsole()
    made = prepare_folder(args, host, registry, open_kept_machines(), console)
    made.__enter__().serial_log.write_text("why")
    with suppress(type(error)):
        made.__exit__(type(error), error, None)
    root = open_kept_machines().locate_folder("web").root
    assert [path.name for path in root.glob("*")] == left
    assert build_os("machine", "list").out == ""
    with prepare_folder(args, host, registry, open_kept_machines(), console) as folder:
        assert list(folder.root.iterdir()) == []
        keep("web")
    with pytest.raises(InputError, match="there is a machine named web already, and it is kept"):
        prepare_folder(args, host, registry, open_kept_machines(), console).__enter__()
    assert folder.locate_disk(0).read_text() == "data"


def test_a_kept_name_is_not_given_to_another_machine(build_os: BuildOs, tmp_path: Path) -> None:
    keep("demo")
    registry = Registry(locate_registry(os.environ, Store.open()))
    free = partial(choose_folder, tmp_path, "demo", registry, open_kept_machines())
    with free() as first, free() as second:
        assert (first.root.name, second.root.name) == ("demo-2", "demo-3")
    runs(tmp_path, "demo-2")
    with free() as third:
        assert third.root.name == "demo-3"
