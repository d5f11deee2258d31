"""What workers elsewhere are told, and what they are given to build of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from builder.cli.main import make_parser
from builder.cli.sharing import KEYS, SIGN_KEY, URL
from builder.cli.worker import keep_in_environment
from builder.core.console import PlainConsole
from builder.core.errors import InputError, SourceError
from builder.core.processes import Processes
from builder.core.store import Store
from builder.sharing.cache import SharedCache
from builder.sharing.places import DirectoryPlace
from builder.signatures.pem import make_ed25519_pair, parse_private_key
from builder.workers import serve, sources
from builder.workers.results import bring_results
from builder.workers.serve import do_task, stop_run
from builder.workers.sources import list_sources, push_sources
from builder.workers.task import Done, Task, locate_out, name_resource
from tests.support.command import run_command
from tests.unit.matrix.conftest import MakeMatrix

pytestmark = pytest.mark.unit


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> SharedCache:
    key = parse_private_key(make_ed25519_pair()[0])
    return SharedCache(DirectoryPlace(tmp_path_factory.mktemp("cache")), [key.public], PlainConsole(), key)


def make_task(entry: str, directory: str, run: str = "run") -> Task:
    """A worker is asked to build an image."""
    return Task("one", entry, directory, (("build", "one.yaml", "-o", locate_out(directory)),), "build.json", run)


def test_definitions_and_locks_go_to_workers_and_what_was_built_does_not(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path
) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/disk").write_text("large")
    (tmp_path / "overlays/mine/etc").mkdir(parents=True)
    (tmp_path / "overlays/mine/etc/motd").write_text("hello")
    top, files = list_sources(made.path.parent)
    assert (top, sorted(files)) == (tmp_path, ["matrix.yaml", "one.lock", "one.yaml", "overlays/mine/etc/motd"])
    name, inside = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    assert inside == "."
    assert push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])[0] == name
    (tmp_path / "there").mkdir()
    assert cache.bring(name, tmp_path / "there") is not None
    assert (tmp_path / "there/one.yaml").read_text() == (tmp_path / "one.yaml").read_text()
    assert (tmp_path / "there/overlays/mine/etc/motd").read_text() == "hello"
    (tmp_path / "one.yaml").write_text("name: other\n")
    assert push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])[0] != name


def test_links_and_modes_of_overlays_are_what_they_were(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path
) -> None:
    """A link that leads nowhere here is a link of the machine."""
    made = make_matrix("outputs: [raw]\n", locked=True)
    top = tmp_path / "overlays/mine/etc/systemd/system/multi-user.target.wants"
    top.mkdir(parents=True)
    (top / "mine.service").symlink_to("../mine.service")
    (top.parent / "other.service").symlink_to("/dev/null")
    script = tmp_path / "overlays/mine/etc/run"
    script.write_text("#!/bin/sh\n")
    before, _ = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    script.chmod(0o755)
    after, _ = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    assert before != after
    (tmp_path / "there").mkdir()
    assert cache.bring(after, tmp_path / "there") is not None
    there = tmp_path / "there/overlays/mine/etc"
    assert (there / "systemd/system/multi-user.target.wants/mine.service").readlink() == Path("../mine.service")
    assert (there / "systemd/system/other.service").readlink() == Path("/dev/null")
    assert (there / "run").stat().st_mode & 0o111


def test_private_keys_are_not_sent(make_matrix: MakeMatrix, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    assert run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache").status == 0
    (tmp_path / "keys/secure-boot.key").write_bytes(make_ed25519_pair()[0])
    (tmp_path / "keys/old.pem").write_text("# a comment\n-----BEGIN RSA PRIVATE KEY-----\n")
    (tmp_path / "keys/a.asc").write_text("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")
    sent = {name for name in list_sources(made.path.parent)[1] if name.startswith("keys/")}
    assert sent == {"keys/.gitignore", "keys/cache.pub"}


def test_git_is_told_to_leave_the_key_of_a_cache_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache").status == 0
    assert (tmp_path / "keys/.gitignore").read_text() == "/cache.key\n"
    (tmp_path / ".gitignore").write_text("out/")
    assert run_command(capsys, "key", str(tmp_path), "--for", "cache").status == 0
    assert (tmp_path / ".gitignore").read_text() == "out/\n/cache.key\n"


def test_what_is_no_directory_of_definitions_is_not_sent(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_matrix("outputs: [raw]\n")
    with pytest.raises(InputError, match="is not below"):
        push_sources(cache, made.path.parent, [Path("/elsewhere/one.yaml")])
    monkeypatch.setattr(sources, "MOST_SOURCES", 10)
    with pytest.raises(InputError, match="too much to be definitions"):
        push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])


def test_a_worker_whose_cache_has_no_definitions_says_so(cache: SharedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve._worker, "cache", cache)
    task = make_task(f"sources-1-{'0' * 64}", ".")
    outcome = do_task(task, None)
    assert outcome["status"] == 3
    assert "does not have the definitions" in outcome["error"]


def test_a_cache_that_was_slow_for_one_cell_is_asked_for_the_next(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    name, inside = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    monkeypatch.setattr(serve, "_run", lambda *_: Done(0, 1.0))
    monkeypatch.setattr(serve._worker, "cache", cache)
    cache._lose(100.0, "slow")
    assert cache.is_given_up
    assert do_task(make_task(name, inside), None)["status"] == 0


def test_a_cell_of_a_run_that_was_ended_does_not_begin(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its definitions were still being fetched when the client was stopped."""
    made = make_matrix("outputs: [raw]\n", locked=True)
    name, inside = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    monkeypatch.setattr(serve._worker, "cache", cache)
    assert stop_run("stopped") == 0
    outcome = do_task(make_task(name, inside, "stopped"), None)
    assert (outcome["status"], outcome["error"]) == (130, "nobody waited for it any more when it was to begin")
    with pytest.raises(AssertionError, match="unit tests start no program"):
        do_task(make_task(name, inside, "another"), None)


def test_a_worker_whose_disk_is_full_says_so(cache: SharedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(serve._worker, "cache", cache)
    monkeypatch.setattr(serve, "open_scratch", fill)
    done = Done(**do_task(make_task(f"sources-2-{'0' * 64}", "."), None))
    assert (done.status, done.error) == (3, "this worker cannot do it: [Errno 28] No space left on device")


def test_what_a_task_has_left_stays_in_the_cache_until_it_has_come(
    cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text("new")
    entry = f"results-1-{'0' * 64}"
    cache.push(entry, {"log": tmp_path / "log"}, tmp_path, seconds=1.0)
    there = tmp_path / "tests"
    there.mkdir()
    (there / "log").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(SharedCache, "bring", lambda *_: None)
        assert not bring_results(cache, entry, there)
    assert (there / "log").read_text() == "old"
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryPlace, "delete", refuse_to_delete)
        assert bring_results(cache, entry, there)
    assert (there / "log").read_text() == "new"
    assert bring_results(cache, entry, there)
    assert not bring_results(cache, entry, there)


def refuse_to_delete(*_: object) -> None:
    raise SourceError("this registry does not delete")


def test_what_a_killed_worker_left_is_swept_by_the_next(cache: SharedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve._worker, "cache", cache)
    task = make_task(f"sources-1-{'0' * 64}", ".")
    scratch = Store.open().root / "scratch"
    places: list[Path] = []

    def kill(*_: object) -> None:
        (place,) = scratch.iterdir()
        shutil.copytree(place, scratch / "build-killed")  # as it is when nobody puts it away
        places.append(place)

    with monkeypatch.context() as patched:
        patched.setattr(SharedCache, "bring", kill)
        do_task(task, None)
    assert [path.name for path in scratch.iterdir()] == ["build-killed"]
    assert places[0].name.startswith("build-")
    do_task(task, None)
    assert list(scratch.iterdir()) == []


def test_a_directory_builder_among_the_sources_is_not_what_builds(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_matrix("outputs: [raw]\n", locked=True)
    (tmp_path / "builder").mkdir()
    (tmp_path / "builder/__main__.py").write_text("raise SystemExit(99)")
    ran: list[tuple[list[str], bool]] = []

    def run(_: Processes, argv: list[str], log: Path, seconds: float | None, *, directory: Path) -> tuple[int, str]:
        ran.append((argv, (directory / "builder/__main__.py").exists()))
        return 0, ""

    monkeypatch.setattr(Processes, "run", run)
    monkeypatch.setattr(serve._worker, "cache", cache)
    name, inside = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    assert do_task(make_task(name, inside), None)["status"] == 0
    ((argv, is_there),) = ran
    assert is_there
    assert argv[1:4] == ["-P", "-m", "builder"]


def test_what_a_task_leaves_comes_back_through_the_cache_also_when_it_fails(
    make_matrix: MakeMatrix, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three commands fails; the third is not begun."""
    made = make_matrix("outputs: [raw]\n", locked=True)
    ran: list[str] = []

    def run(_: Processes, argv: list[str], log: Path, seconds: float | None, *, directory: Path) -> tuple[int, str]:
        ran.append(argv[4])
        if argv[4] == "build":
            return 0, ""
        results = directory / argv[6] / "results/machines/web"
        results.mkdir(parents=True)
        (results / "serial.log").write_text("[1.0] hello")
        (directory / argv[6] / "summary.json").write_text("{}")
        with log.open("a") as file:
            file.write("much\nerror: a test failed\n")
        return 5, ""

    monkeypatch.setattr(Processes, "run", run)
    monkeypatch.setattr(serve._worker, "cache", cache)
    name, inside = push_sources(cache, made.path.parent, [tmp_path / "one.yaml"])
    out = locate_out(inside)
    commands = (("build", "one.yaml"), ("test", "--results", out), ("never",))
    task = Task("one", name, inside, commands, "summary.json", "run", gives="results")
    done = Done(**do_task(task, None))
    assert ran == ["build", "test"]
    assert (done.status, done.error, done.told) == (5, "a test failed", "{}")
    (tmp_path / "back").mkdir()
    assert cache.bring(done.gave, tmp_path / "back") is not None
    assert (tmp_path / "back/machines/web/serial.log").read_text() == "[1.0] hello"


@pytest.mark.parametrize("directory", [".", "systems", "systems/web"])
def test_a_task_writes_beside_the_sources(directory: str, tmp_path: Path) -> None:
    (tmp_path / "sources" / directory).mkdir(parents=True)
    assert (tmp_path / "sources" / directory / locate_out(directory)).resolve() == tmp_path / "made"


def test_paths_in_a_worker_s_environment_hold_wherever_cells_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (URL, KEYS, SIGN_KEY, "REGISTRY_AUTH_FILE", "BUILD_OS_CACHE")
    monkeypatch.chdir(tmp_path)
    for name, value in zip(names, ("cache", "keys/a.pub:/b.pub", "keys/cache.key", "auth.json", ""), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", "own")
    keep_in_environment(make_parser("worker").parse_args(["worker", "tcp://127.0.0.1:1"]), Store.open().root)
    here = [os.environ[name] for name in names]
    assert here[:2] == [f"{tmp_path}/cache", f"{tmp_path}/keys/a.pub:/b.pub"]
    assert here[2:] == [f"{tmp_path}/keys/cache.key", f"{tmp_path}/auth.json", f"{tmp_path}/own/build-os"]
    words = ["--cache", "oci://127.0.0.1:5000/cache", "--cache-key", "c.pub", "--cache-sign-key", "c.key"]
    keep_in_environment(make_parser("worker").parse_args(["worker", "tcp://127.0.0.1:1", *words]), Store.open().root)
    here = [os.environ[name] for name in (URL, KEYS, SIGN_KEY)]
    assert here == ["oci://127.0.0.1:5000/cache", f"{tmp_path}/c.pub", f"{tmp_path}/c.key"]


def test_a_worker_of_an_empty_cache_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is new, or a directory that is not mounted."""

    async def serve_tasks(*_: object) -> None:
        """The scheduler has gone at once."""

    for name in (URL, KEYS, SIGN_KEY, "BUILD_OS_CACHE"):  # which it sets for its processes
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("builder.core.tools.can_enter", lambda: None)
    monkeypatch.setattr("builder.workers.task.import_distributed", lambda: None)
    monkeypatch.setattr(serve, "serve_tasks", serve_tasks)
    run_command(capsys, "key", str(tmp_path / "keys"), "--for", "cache")
    words = ("--cache", str(tmp_path / "cache"), "--cache-sign-key", str(tmp_path / "keys/cache.key"))
    outcome = run_command(capsys, "worker", "tcp://127.0.0.1:1", "--once", *words)
    assert (outcome.status, outcome.err) == (0, f"warning: there is nothing in the cache {tmp_path}/cache yet\n")


def test_a_worker_is_known_by_architecture_and_source() -> None:
    kind, product, arch, source = name_resource().split("-")
    assert (kind, product) == ("build", "os")
    assert arch
    assert len(source) == 16


def test_only_builds_and_tests_are_done_elsewhere(
    make_matrix: MakeMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_matrix("outputs: [raw]\n", locked=True)
    monkeypatch.chdir(tmp_path)
    outcome = run_command(capsys, "matrix", "verify", "--on", "tcp://127.0.0.1:1")
    assert (outcome.status, outcome.err.splitlines()[0]) == (2, "error: verify runs on this machine")
    outcome = run_command(capsys, "matrix", "build", "--on", "tcp://127.0.0.1:1")
    assert (outcome.status, outcome.err.splitlines()[-2]) == (2, "error: say which cache")
