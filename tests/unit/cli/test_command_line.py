"""What somebody at the keyboard sees: exit codes, where things are printed, and what every message says to do."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from builder.build import BuildRequest, BuildResult
from builder.cli import main
from builder.cli.main import COMMANDS, Terminated, make_parser
from builder.core.errors import (
    BuildError,
    CapabilityError,
    InputError,
    SourceError,
    ToolError,
    VmError,
)
from builder.debian.lock import Lock, LockedDecision, LockedPackage
from builder.definition.load import load
from builder.locking import hash_recipe
from builder.stages import list_stages
from tests.support.command import Outcome, run_command

pytestmark = pytest.mark.unit

SMALL = "name: mine\nversion: 1.0.0\narch: amd64\n"


BuildOs = Callable[..., Outcome]


@pytest.fixture
def handlers() -> Iterator[None]:
    """A command replaces signal handlers, and exits; pytest needs its own back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def build_os(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], handlers: None
) -> BuildOs:
    """``build_os("check", "os.yaml")`` in an empty directory, with an empty store."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))

    return partial(run_command, capsys)


def failing(error: BaseException) -> Callable[..., int]:
    def run(*_: object) -> int:
        raise error

    return run


# --- exit codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BuildError("it broke"), 1),
        (InputError("it broke"), 2),
        (CapabilityError("it broke"), 3),
        (ToolError("it broke"), 4),
        (VmError("it broke"), 5),
        (SourceError("it broke"), 6),
    ],
)
def test_every_kind_of_failure_has_its_status(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, error: BuildError, status: int
) -> None:
    monkeypatch.setattr("builder.cli.schema.run", failing(error))
    outcome = build_os("schema")
    assert (outcome.status, outcome.out, outcome.err) == (status, "", "error: it broke\n")


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "\ninterrupted; nothing partial is left behind\n"),
        (Terminated(signal.SIGTERM), 143, "\nterminated; nothing partial is left behind\n"),
        (Terminated(signal.SIGHUP), 129, "\nterminated; nothing partial is left behind\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_an_interrupted_command_says_so_as_shells_expect(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, says: str
) -> None:
    monkeypatch.setattr("builder.cli.schema.run", failing(error))
    outcome = build_os("schema")
    assert (outcome.status, outcome.err) == (status, says)


def test_a_signal_ends_a_command_like_ctrl_c(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.cli.schema.run", lambda *_: signal.raise_signal(signal.SIGTERM))
    assert build_os("schema").status == 143


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/store/x"), "no space left on /store/x"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/store/x"), "no space left on /store/x"),
        (OSError(errno.EROFS, "Read-only file system", "/out/x"), "cannot use /out/x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "/out/x"), "cannot use /out/x: Permission denied"),
        (OSError(errno.EIO, "Input/output error", "/out/x"), "the disk failed on /out/x: Input/output error"),
    ],
)
def test_a_failing_disk_is_no_bug_of_ours(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, error: OSError, says: str
) -> None:
    monkeypatch.setattr("builder.cli.schema.run", failing(error))
    outcome = build_os("schema")
    assert outcome.status == 3
    assert outcome.err.splitlines()[0] == f"error: {says}"
    assert "Traceback" not in outcome.err
    assert ("build-os cache clear --stages" in outcome.err) == ("no space" in says)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "No such file", "/x"), PermissionError(1, "no"), KeyError("x")]
)
@pytest.mark.usefixtures("handlers")
def test_what_may_be_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("builder.cli.schema.run", failing(error))
    with pytest.raises(type(error)) as caught:
        main(["schema"])
    assert caught.value is error


def test_debug_adds_a_traceback(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.cli.schema.run", failing(InputError("it broke")))
    outcome = build_os("schema", "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("error: it broke\n")


def test_a_failure_that_was_logged_says_where(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: object, console: object) -> int:
        console.log("+ mkfs")
        raise ToolError("mkfs failed")

    monkeypatch.setattr("builder.cli.build.run", run)
    outcome = build_os("build", "-o", "there")
    assert outcome.status == 4
    assert outcome.err == "error: mkfs failed\nthe whole log: there/build.log\n"
    assert Path("there/build.log").read_text() == "+ mkfs\n"


# --- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_and_every_option_explained(build_os: BuildOs, command: str) -> None:
    outcome = build_os(command, "--help")
    assert outcome.status == 0
    description = outcome.out.partition("\n\n")[2]
    assert f"build-os {command}" in description
    options = next(a for a in make_parser()._subparsers._group_actions if a.choices).choices[command]._actions
    assert [option.dest for option in options if option.option_strings and not option.help] == []


def test_the_help_names_every_command_and_every_exit_code(build_os: BuildOs) -> None:
    outcome = build_os("--help")
    assert outcome.status == 0
    listed = [line.split()[0] for line in outcome.out.splitlines() if line.startswith("    ") and line.strip()]
    assert [command for command in COMMANDS if command not in listed] == []
    for error in (InputError, CapabilityError, ToolError, VmError, SourceError):
        assert f" {error.exit_code}  " in outcome.out


@pytest.mark.parametrize("arguments", [(), ("buidl",), ("build", "--ofline"), ("build", "--progress", "fancy")])
def test_a_command_line_that_makes_no_sense_is_refused(build_os: BuildOs, arguments: tuple[str, ...]) -> None:
    outcome = build_os(*arguments)
    assert outcome.status == 2
    assert "usage: build-os" in outcome.err


def test_the_version_is_printed(build_os: BuildOs) -> None:
    outcome = build_os("--version")
    assert outcome.status == 0
    assert outcome.out.startswith("build-os ")


# --- definitions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "lock", "plan", "build"])
def test_without_a_definition_a_newcomer_learns_how_to_start(build_os: BuildOs, command: str) -> None:
    outcome = build_os(command)
    assert outcome.status == 2
    assert outcome.err == "error: there is no os.yaml\n  = 'build-os init' makes one\n"
    assert build_os(command, "other.yaml").err == "error: there is no other.yaml\n"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", ["check", "lock", "plan", "build"])
def test_an_unknown_key_is_underlined(build_os: BuildOs, command: str) -> None:
    Path("os.yaml").write_text(SMALL + "disk:\n  sise: 8G\n")
    outcome = build_os(command)
    assert outcome.status == 2
    assert outcome.err == (
        "os.yaml:5:3: unknown setting\n   |\n 5 |   sise: 8G\n   |   ^^^^ $.disk.sise\n   = did you mean 'size'?\n"
    )


def test_a_good_definition_has_no_problems(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    outcome = build_os("check")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "os.yaml: no problems\n")


def test_a_good_container_has_no_problems_either(build_os: BuildOs) -> None:
    Path("web.yaml").write_text("kind: container\nname: web\nversion: 1.0.0\narch: amd64\ncommand: [sh]\n")
    assert build_os("check", "web.yaml").err == "web.yaml: no problems\n"


def test_warnings_are_shown_and_are_errors_if_asked(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("os.yaml").write_text(SMALL)
    from dataclasses import replace

    from builder.definition import load as module

    loaded = replace(load(Path("os.yaml")), warnings=("os.yaml:1: odd",))
    monkeypatch.setattr(module, "load", lambda path: loaded)
    assert build_os("check") == Outcome(0, "", "warning: os.yaml:1: odd\nos.yaml: 1 warning\n")
    outcome = build_os("check", "--strict")
    assert outcome.status == 2
    assert "os.yaml:1: odd" in outcome.err


def test_first_boot_configs_are_checked_as_the_machine_would(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    Path("good.yaml").write_text("variant: fcos\nversion: 1.5.0\n")
    Path("odd.yaml").write_text("variant: fcos\nversion: 1.5.0\npaswd:\n  users: []\n")
    Path("bad.yaml").write_text("variant: fcos\nversion: 1.5.0\npasswd:\n  users: none\n")
    assert build_os("check", "--strict", "--config", "good.yaml").status == 0
    outcome = build_os("check", "--config", "good.yaml", "--config", "odd.yaml")
    assert outcome.status == 0
    assert "good.yaml: right by itself, and not compared with an image: there is no out/build.json" in outcome.err
    assert "warning: odd.yaml:3:1" in outcome.err
    assert build_os("check", "--strict", "--config", "odd.yaml").status == 2
    outcome = build_os("check", "--config", "good.yaml", "--config", "bad.yaml")
    assert outcome.status == 2
    assert "bad.yaml:4:10" in outcome.err
    assert build_os("check", "--config", "none.yaml").err == "error: cannot read none.yaml: No such file or directory\n"


# --- init and schema -------------------------------------------------------------------------------


def test_init_lists_what_it_wrote_and_it_is_sound(build_os: BuildOs) -> None:
    outcome = build_os("init", "My OS")
    assert outcome.status == 0
    written = [Path(line) for line in outcome.out.splitlines()]
    here = Path("My OS").absolute()
    assert {path.relative_to(here) for path in written} == {
        path.relative_to(here) for path in here.rglob("*") if path.is_file()
    }
    assert here / "os.yaml" in written
    assert "build-os build" in outcome.err
    assert "name: my-os" in (here / "os.yaml").read_text()
    checked = build_os("check", "My OS/os.yaml", "--config", "My OS/machines/first.yaml", "--strict")
    assert checked.status == 0, checked.err


def test_init_overwrites_nothing(build_os: BuildOs) -> None:
    Path("os.yaml").write_text("mine")
    outcome = build_os("init", "--name", "demo")
    assert outcome.status == 2
    assert "os.yaml" in outcome.err
    assert [path.name for path in Path().iterdir()] == ["os.yaml"]
    assert Path("os.yaml").read_text() == "mine"


def test_the_schema_is_json_on_standard_output(build_os: BuildOs) -> None:
    outcome = build_os("schema")
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out)["$schema"].startswith("https://json-schema.org/")


# --- lock and plan ---------------------------------------------------------------------------------


def write_lock(**changes: object) -> None:
    resolved = load(Path("os.yaml")).resolved
    package = LockedPackage(
        "bash", "5.2", "amd64", hashlib.sha256(b"x").hexdigest(), 1, "pool/b.deb", "bash 5.2", "trixie"
    )
    fields = {"recipe_sha256": hash_recipe(resolved), "arch": "amd64", "suite": "trixie", "packages": (package,)}
    Lock(**(fields | changes)).dump(Path("os.lock"))


def test_a_lock_can_be_checked_without_a_network(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    assert build_os("lock", "--check").err == "error: there is no os.lock\n  = 'build-os lock' makes a new one\n"
    write_lock()
    assert build_os("lock", "--check") == Outcome(0, "", "os.lock fits os.yaml\n")
    write_lock(recipe_sha256="0" * 64)
    outcome = build_os("lock", "--check")
    assert outcome.status == 2
    assert "os.lock is stale" in outcome.err


def test_a_new_lock_says_what_changed(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder import locking

    Path("os.yaml").write_text(SMALL)
    write_lock()
    old = Lock.load(Path("os.lock"))
    (bash,) = old.packages
    from dataclasses import replace

    new = replace(old, packages=(replace(bash, version="5.3"), replace(bash, name="zsh")))
    monkeypatch.setattr(
        locking, "make_lock", lambda *_, newest, update: new if newest == old else pytest.fail("old is lost")
    )
    outcome = build_os("lock")
    assert outcome == Outcome(0, "os.lock\n", "bash: 5.2 -> 5.3\nzsh: not there -> 5.2\n2 packages, 0 for the tools\n")
    assert Lock.load(Path("os.lock")) == new


def test_only_what_is_in_the_lock_can_be_updated(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    outcome = build_os("lock", "--update", "bash")
    assert (outcome.status, outcome.out) == (2, "")
    assert "there is no os.lock to update" in outcome.err


def test_locks_are_compared_and_one_may_come_from_standard_input(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    Path("os.yaml").write_text(SMALL)
    write_lock()
    old = Lock.load(Path("os.lock"))
    (bash,) = old.packages
    new = replace(old, packages=(replace(bash, version="5.3", size=1001),), tools=(replace(bash, name="zsh"),))
    new.dump(Path("new.lock"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(old.render().encode())))
    outcome = build_os("lock", "diff", "-", "new.lock", "--offline")
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines() == [
        "bash  5.2 -> 5.3  (image; download +1.0 kB)",
        "zsh  added 5.2  (tools; download +1 B)",
        "",
        "1 added, 0 removed, 1 changed; download +1.0 kB; 0 advisories named",
    ]
    data = json.loads(build_os("lock", "diff", "os.lock", "new.lock", "--offline", "--json").out)
    assert [(row["name"], row["kind"], row["old"], row["new"], row["download_bytes"]) for row in data] == [
        ("bash", "changed", "5.2", "5.3", 1000),
        ("zsh", "added", None, "5.2", 1),
    ]
    assert build_os("lock", "diff", "os.lock", "os.lock", "--offline").out == "no difference\n"


def test_a_decision_about_scripts_that_changed_is_a_difference_of_locks(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    write_lock()
    Path("os.lock").rename("old.lock")
    write_lock(decisions=(LockedDecision("image", "bash", "ignore", "because"),))
    assert build_os("lock", "diff", "old.lock", "os.lock", "--offline").out == (
        "scripts of bash (image): no decision -> ignore (because)\n"
    )
    (row,) = json.loads(build_os("lock", "diff", "old.lock", "os.lock", "--offline", "--json").out)
    assert (row["name"], row["kind"], row["groups"]) == ("bash", "decision", ["image"])
    assert (row["old"], row["new"]) == (None, {"answer": "ignore", "why": "because"})


def test_what_a_definition_needs_is_carried_to_another_store(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from builder.core.store import Store

    Path("os.yaml").write_text(SMALL)
    write_lock()
    missing = build_os("store", "export", "debs.tar", "--offline")
    assert (missing.status, missing.out) == (6, "")
    assert "bash 5.2" in missing.err
    assert not Path("debs.tar").exists()
    Store.open().add_bytes(b"x")
    assert build_os("store", "export", "debs.tar", "--offline").out == "debs.tar\n"
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "there"))
    outcome = build_os("store", "import", "debs.tar")
    assert (outcome.status, outcome.out) == (0, "debs.tar\n")
    assert "1 files, 1 B, all verified" in outcome.err
    assert Store.open().has_blob(hashlib.sha256(b"x").hexdigest(), 1)
    assert build_os("store", "import", "no.tar").status == 2
    assert "say what to do" in build_os("store").err


@pytest.mark.parametrize("same", [True, False])
def test_two_builds_that_differ_have_an_exit_code_of_their_own(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    from builder.verify import run
    from builder.verify.compare import Compared
    from builder.verify.locate import Difference

    Path("os.yaml").write_text(SMALL)
    compared = (Compared("uki", "ab", "ab"), Compared("root", "12", "12" if same else "34"))
    found = () if same else (Difference("root", "EROFS", "/etc/x", "mode differs", "package:a", "packages"),)
    monkeypatch.setattr(run, "verify", lambda build: run.Report({"user": ("0", "1")}, compared, found))
    outcome = build_os("verify", "--surroundings")
    assert outcome.status == (0 if same else 7)
    lines = outcome.out.splitlines()
    assert lines[:2] == ["user  0", "      1"]
    assert lines[3:] == ["uki   same       ab", f"root  {'same     ' if same else 'DIFFERENT'}  12"]
    assert ("root: EROFS: /etc/x: mode differs, from package:a, in stage packages" in outcome.err) is not same
    assert json.loads(build_os("verify", "--json").out)["same"] is same


def test_a_plan_says_what_would_run_and_changes_nothing(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    without = build_os("plan").out.splitlines()
    assert without[0] == "packages   runs    because there is no os.lock yet"
    assert without[-1] == "outputs     made anew: root, disk, qcow2"
    assert not Path("os.lock").exists()
    write_lock()
    before = sorted(path.name for path in Path().rglob("*"))
    outcome = build_os("plan")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "packages   runs    because it has not run before"
    assert lines[-1] == "outputs     made anew: root, disk, qcow2"
    stages = list_stages(load(Path("os.yaml")).resolved, Lock.load(Path("os.lock")))
    assert [line.split()[0] for line in lines[:-1]] == [stage.name for stage in stages]
    assert sorted(path.name for path in Path().rglob("*")) == before
    data = json.loads(build_os("plan", "--json").out)
    assert data["current"] is False
    assert [stage["stage"] for stage in data["stages"]][:2] == ["packages", "firstboot"]
    write_lock(recipe_sha256="0" * 64)
    stale = build_os("plan")
    assert (stale.status, stale.out.splitlines()[0]) == (
        0,
        "packages   runs    because os.lock is stale and will be renewed",
    )


# --- build -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "environment"), [(["--locked"], {}), ([], {"CI": "true"})])
def test_a_build_that_nobody_watches_refuses_a_stale_lock_and_says_what_to_type(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch, option: list[str], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Path("os.yaml").write_text(SMALL)
    write_lock(recipe_sha256="0" * 64)
    before = Path("os.lock").read_text()
    outcome = build_os("build", *option)
    assert outcome.status == 2
    assert "os.lock is stale" in outcome.err
    assert "'build-os lock'" in outcome.err
    assert Path("os.lock").read_text() == before


def test_a_build_that_may_not_make_a_lock_refuses_when_there_is_none(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    outcome = build_os("build", "--locked")
    assert (outcome.status, "there is no" in outcome.err, "'build-os lock' makes it" in outcome.err) == (2, True, True)


def test_a_build_for_a_person_renews_the_lock_and_says_what_changed(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("os.yaml").write_text(SMALL + "scripts: {bash: {ignore: nobody needs it}}\n")
    write_lock()
    outcome = build_os("build", "--offline")  # it ends for want of debs, with the lock renewed
    assert "scripts of bash (image): no decision -> ignore (nobody needs it)" in outcome.err
    assert "renewed" in outcome.err
    assert build_os("lock", "--check").status == 0


def test_a_build_prints_the_path_of_its_manifest_and_nothing_else(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builder.build

    def build(request: BuildRequest) -> BuildResult:
        request.out.mkdir()
        artifacts = {"qcow2": {"path": "mine.qcow2", "size": 1_500_000, "sha256": "ab"}}
        manifest = request.out / "build.json"
        manifest.write_text(json.dumps({"schema": 1, "artifacts": artifacts}))
        return BuildResult(manifest, 61.2)

    monkeypatch.setattr(builder.build, "build_system", build)
    Path("os.yaml").write_text(SMALL)
    outcome = build_os("build")
    assert outcome == Outcome(0, "out/build.json\n", "mine.qcow2     1.5 MB  ab\nbuilt in 1 min 01 s\n")


def test_progress_can_be_read_by_programs(build_os: BuildOs) -> None:
    Path("os.yaml").write_text(SMALL)
    outcome = build_os("check", "--progress", "json")
    assert json.loads(outcome.err) == {"event": "note", "text": "os.yaml: no problems"}


# --- machines --------------------------------------------------------------------------------------


def test_there_is_nothing_to_run_before_a_build(build_os: BuildOs) -> None:
    outcome = build_os("run")
    assert outcome == Outcome(2, "", "error: there is no out/build.json\n  = 'build-os build' makes it\n")


@pytest.mark.parametrize("text", ["8080", "a:80", "80:", "80:0", "70000:80", "80:80:80", "-1:80"])
def test_ports_that_are_none_are_refused(build_os: BuildOs, text: str) -> None:
    outcome = build_os("run", f"--publish={text}")
    assert outcome.status == 2
    assert "is no pair of ports" in outcome.err
    assert "8080:80" in outcome.err


def test_a_config_that_the_machine_would_refuse_is_refused_before_it_starts(build_os: BuildOs) -> None:
    Path("bad.yaml").write_text("variant: fcos\nversion: 1.5.0\npasswd: none\n")
    outcome = build_os("run", "--config", "bad.yaml")
    assert outcome.status == 2
    assert "bad.yaml:3:9" in outcome.err


def test_an_image_whose_tools_are_gone_is_built_again(build_os: BuildOs) -> None:
    Path("out").mkdir()
    Path("out/build.json").write_text(
        json.dumps({"schema": 1, "name": "a", "version": "1", "arch": "amd64", "tools": "/gone", "artifacts": {}})
    )
    outcome = build_os("run")
    assert outcome.status == 2
    assert "the tools tree of out/build.json is gone" in outcome.err


def test_nobody_can_be_logged_in_to_where_nothing_runs(build_os: BuildOs) -> None:
    outcome = build_os("ssh")
    assert outcome.status == 2
    assert "build-os run --detach" in outcome.err
    assert build_os("ssh", "--list") == Outcome(0, "", "")


# --- cache -----------------------------------------------------------------------------------------


def test_the_cache_is_shown_by_what_can_be_cleared(build_os: BuildOs, tmp_path: Path) -> None:
    (tmp_path / "cache/tools/key").mkdir(parents=True)
    (tmp_path / "cache/tools/key/program").write_bytes(bytes(10_000))
    lines = build_os("cache").out.splitlines()
    assert lines[0] == str(tmp_path / "cache")
    shown = {line.split()[0]: line.split()[-2] for line in lines[1:]}
    assert shown == {"downloads": "0", "stages": "0", "tools": "1", "machines": "0"}


def test_clearing_nothing_in_particular_is_refused(build_os: BuildOs) -> None:
    outcome = build_os("cache", "clear")
    assert outcome == Outcome(
        2, "", "error: say what to clear\n  = --stages, --tools, --machines, --downloads or --all\n"
    )


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("--stages", {"blobs", "tools"}),
        ("--tools", {"blobs", "stages"}),
        ("--downloads", {"stages", "tools"}),
        ("--all", set()),
    ],
)
def test_only_what_was_named_is_cleared(build_os: BuildOs, tmp_path: Path, option: str, left: set[str]) -> None:
    for room in ("blobs", "stages", "tools"):
        (tmp_path / "cache" / room / "x").mkdir(parents=True)
    outcome = build_os("cache", "clear", option)
    assert outcome.status == 0
    assert "cleared" in outcome.err
    rooms = {path.name for path in (tmp_path / "cache").iterdir() if list(path.iterdir())} - {"locks"}
    assert rooms == left


# --- doctor ----------------------------------------------------------------------------------------


def test_doctor_says_what_is_missing_and_what_to_do(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.core import tools

    monkeypatch.setattr(tools, "can_enter", lambda: "unshare: Operation not permitted")
    monkeypatch.setenv("BUILD_OS_MIRROR", "http://mirror.example/debian")
    outcome = build_os("doctor")
    assert outcome.status == 3
    assert "MISS  the tools tree cannot be entered: unshare: Operation not permitted\n      " in outcome.out
    assert "error: 1 thing is missing\n" in outcome.err


def test_doctor_is_content_with_a_sound_machine(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.core import tools

    monkeypatch.setattr(tools, "can_enter", lambda: None)
    monkeypatch.setenv("BUILD_OS_MIRROR", "http://mirror.example/debian")
    outcome = build_os("doctor")
    assert outcome.status == 0
    assert "MISS" not in outcome.out
    assert outcome.out.startswith("ok    Python 3.")
    assert {line[:4] for line in outcome.out.splitlines() if not line.startswith(" ")} <= {"ok  ", "note"}


def test_doctor_says_that_keys_are_for_development(build_os: BuildOs, monkeypatch: pytest.MonkeyPatch) -> None:
    from builder.core import tools

    monkeypatch.setattr(tools, "can_enter", lambda: None)
    monkeypatch.setenv("BUILD_OS_MIRROR", "http://mirror.example/debian")
    said = "note  update-keys/root.json is of development keys"
    assert build_os("key", "update-keys", "--for", "updates", "--dev").status == 0
    assert said in build_os("doctor").out
    shutil.rmtree("update-keys")
    assert build_os("key", "update-keys", "--for", "updates").status == 0
    assert said not in build_os("doctor").out


def test_doctor_says_that_a_key_for_secure_boot_is_for_development(
    build_os: BuildOs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builder.core import tools

    monkeypatch.setattr(tools, "can_enter", lambda: None)
    monkeypatch.setenv("BUILD_OS_MIRROR", "http://mirror.example/debian")
    said = "note  keys/secure-boot.crt is of a development key"
    assert said not in build_os("doctor").out
    assert build_os("key", "--dev").status == 0
    assert said in build_os("doctor").out
    shutil.rmtree("keys")
    # Of no definition, and without tools: a key is made on any machine.
    made = build_os("key", "--name", "us")
    assert (made.status, made.out.split()) == (0, ["keys/secure-boot.key", "keys/secure-boot.crt"])
    assert said not in build_os("doctor").out
    monkeypatch.setenv("BUILD_OS_SIGN_CERTIFICATE", "elsewhere/secure-boot.crt")
    assert build_os("key", "elsewhere", "--dev").status == 0
    assert "note  elsewhere/secure-boot.crt is of a development key" in build_os("doctor").out
