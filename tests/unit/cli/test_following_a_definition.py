"""``build-os dev``: what is noticed, what a machine is asked then, and what a person is told."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.build.live import describe_live
from builder.cli import dev
from builder.core.errors import InputError
from builder.core.tools import Tools
from builder.definition.load import load
from tests.unit.stages.conftest import Recorder
from vm.registry.ssh import SshTarget

pytestmark = pytest.mark.unit

SYSTEM = 'name: app\nversion: "1"\noverlays: [mine]\nunits: [mine]\n'
UNIT = "units/mine/app.service"


class Session:
    """A person who changes files: one step each time that somebody waits, then Ctrl-C."""

    def __init__(self, root: Path, tools: Tools) -> None:
        self.root, self.console = root, Recorder()
        self.asked: list[dict[str, object]] = []
        self.answer: dict[str, object] = {"kept": [], "failed": []}
        self.steps: list[Callable[[], object]] = []
        self.renewed = 0
        self.while_it_boots: Callable[[], object] = lambda: None
        self.look = dev.look_at(Path("os.yaml"))
        self.apps: list[str] = []
        self.machine = dev.Followed(
            SshTarget(2222, "root"), tools, describe_live(dev.look_at(Path("os.yaml")).resolved), self.renew
        )

    def renew(self) -> dev.Followed:
        self.renewed += 1
        self.machine.live = describe_live(dev.look_at(Path("os.yaml")).resolved)
        self.machine.pending = []
        self.while_it_boots()
        return self.machine

    def wait(self, seconds: float) -> bool:
        if not self.steps:
            raise KeyboardInterrupt
        return self.steps.pop(0)() is True

    def write(self, name: str, text: str) -> Callable[[], object]:
        def step() -> None:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

        return step

    def follow(self, *steps: Callable[[], object]) -> str:
        self.steps = [*steps, lambda: None]
        dev.follow(self.machine, Path("os.yaml"), self.look, self.console, self.wait)
        return "\n".join(self.console.said[1:])


@pytest.fixture
def session(tmp_path: Path, fake_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dev, "SETTLED", 0.0)
    for name, text in {
        "os.yaml": SYSTEM,
        "overlays/mine/etc/motd": "hello\n",
        UNIT: "[Service]\nExecStart=/usr/bin/true\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    made = Session(tmp_path, fake_tools)

    def ask(machine: dev.Followed, command: list[str], data: bytes) -> str:
        made.asked.append(json.loads(data))
        return json.dumps(made.answer)

    monkeypatch.setattr(dev, "ask", ask)
    monkeypatch.setattr(dev, "send_app", lambda *words: made.apps.append(words[3]))
    return made


def test_a_unit_that_is_saved_is_put_and_started_again(session: Session) -> None:
    said = session.follow(session.write(UNIT, "[Service]\nExecStart=/usr/bin/false\n"))
    (asked,) = session.asked
    assert asked["commands"] == [["systemctl", "daemon-reload"], ["systemctl", "try-restart", "app.service"]]
    assert "put: /run/systemd/system/app.service, in the place of /usr/lib/systemd/system/app.service" in said
    assert "done: systemctl try-restart app.service" in said
    assert "new image" not in said


def test_a_setting_that_is_taken_away_is_said_to_stay_until_a_reboot(session: Session) -> None:
    name = "overlays/mine/etc/sysctl.d/a.conf"
    said = session.follow(session.write(name, "vm.swappiness=1\n"), lambda: None, (session.root / name).unlink)
    assert "put: /etc/sysctl.d/a.conf\n" in said
    assert "taken away: /etc/sysctl.d/a.conf; what it has set stays until a reboot" in said


def test_each_change_is_put_once_and_against_the_one_before(session: Session) -> None:
    motd = "overlays/mine/etc/motd"
    session.follow(session.write(motd, "two\n"), lambda: None, session.write(motd, "three\n"), lambda: None)
    first, second = (asked["files"][0] for asked in session.asked)  # type: ignore[index] # JSON
    assert first["before"] != second["before"]
    assert [row["path"] for row in (first, second)] == ["/etc/motd"] * 2


def test_a_new_file_of_an_overlay_is_noticed_and_one_beside_it_is_not(session: Session) -> None:
    session.follow(session.write("overlays/mine/etc/issue", "new\n"), session.write("notes.txt", "x"))
    assert [[row["path"] for row in asked["files"]] for asked in session.asked] == [["/etc/issue"]]  # type: ignore[attr-defined] # JSON


def test_a_file_that_the_machine_has_changed_and_a_command_that_fails_are_told(session: Session) -> None:
    session.answer = {"kept": ["/etc/motd"], "failed": [[["systemctl", "try-restart", "app.service"], "it broke"]]}
    said = session.follow(
        session.write("overlays/mine/etc/motd", "mine\n"), session.write(UNIT, "[Service]\nExecStart=/bin/no\n")
    )
    assert "warning: /etc/motd stays as it is: the machine has changed it itself" in said
    assert "warning: systemctl try-restart app.service: it broke" in said
    assert "put: /etc/motd" not in said
    assert "done: systemctl try-restart" not in said


def test_what_needs_a_new_image_is_said_once_and_built_when_asked(session: Session) -> None:
    said = session.follow(
        lambda: True,  # there is nothing to build yet
        session.write("os.yaml", SYSTEM + "packages: [htop]\n"),
        session.write("overlays/mine/usr/bin/tool", "#!/bin/sh\n"),
        session.write("overlays/mine/etc/motd", "two\n"),
        lambda: True,
        session.write("overlays/mine/etc/motd", "three\n"),
    )
    assert "warning: needs a new image: packages changed (Enter builds it and boots)" in said
    assert "warning: needs a new image: packages changed, /usr/bin/tool is of the verified image" in said
    assert said.count("needs a new image") == 2
    assert session.renewed == 1
    assert len(session.asked) == 2


def test_what_is_saved_while_it_builds_and_boots_is_put_when_it_has(session: Session) -> None:
    session.while_it_boots = session.write("overlays/mine/etc/motd", "meanwhile\n")
    session.follow(session.write("os.yaml", SYSTEM + "packages: [htop]\n"), lambda: True)
    assert [[row["path"] for row in asked["files"]] for asked in session.asked] == [["/etc/motd"]]  # type: ignore[attr-defined] # JSON


def test_what_is_saved_while_the_first_machine_boots_is_put(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def open_machine(*_: object) -> Iterator[dev.Followed]:
        session.write("overlays/mine/etc/motd", "meanwhile\n")()
        yield session.machine

    monkeypatch.setattr(dev, "open_machine", open_machine)
    monkeypatch.setattr(dev, "open_keyboard", lambda: session.wait)
    session.steps = [lambda: None]
    dev.run(SimpleNamespace(definition=Path("os.yaml")), session.console)  # type: ignore[arg-type] # stand-in
    assert "put: /etc/motd" in session.console.said


def test_who_takes_it_back_needs_no_new_image(session: Session) -> None:
    said = session.follow(session.write("os.yaml", SYSTEM + "packages: [htop]\n"), session.write("os.yaml", SYSTEM))
    assert said.endswith("no new image is needed any more")
    assert session.asked == []


def test_a_definition_that_is_wrong_is_shown_and_looked_at_again_when_it_is_saved(session: Session) -> None:
    said = session.follow(
        session.write("os.yaml", "name: ["),
        lambda: None,
        lambda: None,
        session.write("os.yaml", SYSTEM),
        session.write("overlays/mine/etc/motd", "two\n"),
    )
    assert said.count("YAML syntax") == 1
    assert "put: /etc/motd" in said


def test_a_file_that_vanishes_while_it_is_read_ends_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    motd = "overlays/mine/etc/motd"
    times = []

    def load_or_miss(path: Path) -> object:
        times.append(path)
        if len(times) == 1:
            raise FileNotFoundError(2, "No such file or directory", motd)
        return load(path)

    monkeypatch.setattr("builder.definition.load.load", load_or_miss)
    said = session.follow(session.write(motd, "two\n"), lambda: None, session.write(motd, "three\n"))
    assert said.count(f"No such file or directory: '{motd}'") == 1
    assert "put: /etc/motd" in said


def test_a_shell_of_root_that_prints_does_not_matter(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps(session.answer)
    answers = [f"Welcome!\n{answer}\n", "Welcome!\n", answer]
    monkeypatch.setattr(dev, "ask", lambda *_: answers.pop(0))
    motd = "overlays/mine/etc/motd"
    said = session.follow(*(session.write(motd, text) for text in ("two\n", "three\n", "four\n")))
    assert said.count("put: /etc/motd") == 2
    assert said.count("warning: ") == 1


@pytest.mark.parametrize("name", ["motd~", ".motd.swp", ".motd.swx", "4913", ".#motd", "#motd#"])
def test_what_editors_leave_beside_a_file_is_not_put(session: Session, name: str) -> None:
    etc = "overlays/mine/etc"
    session.follow(session.write(f"{etc}/{name}", "x"), session.write(f"{etc}/motd", "two\n"))
    assert [[row["path"] for row in asked["files"]] for asked in session.asked] == [["/etc/motd"]]  # type: ignore[attr-defined] # JSON


def test_an_apps_own_files_are_watched_and_sent(session: Session) -> None:
    (session.root / "app").mkdir()
    (session.root / "app/web.py").write_text("A = 1\n")
    (session.root / "os.yaml").write_text(
        SYSTEM + "features: [base]\napps: [{name: shop, directory: app, module: web, description: S}]\n"
    )
    session.renew()
    session.follow(session.write("app/web.py", "A = 22\n"), lambda: None, session.write("app/more.py", "B = 1\n"))
    session.follow(session.write("app/web.py~", "A = 1\n"))
    assert session.apps == ["shop", "shop"]


def test_only_what_a_person_edits_is_watched(session: Session) -> None:
    watched = dev.look_at(Path("os.yaml")).paths
    assert f"{session.root}/os.yaml" in watched
    assert f"{session.root}/overlays/mine/etc/motd" in watched
    assert [path for path in watched if path.endswith(".pyc") or "site-packages" in path] == []


def test_what_lies_beside_python_is_watched_and_its_modules_are_not() -> None:
    projects = (f"{sys.base_prefix}/src/project/os.yaml", f"{sys.prefix}-mine/os.yaml", f"{sys.prefix}/project/os.yaml")
    modules = (f"{sys.base_prefix}/lib/python3/json.py", f"{sys.prefix}/lib/python3/site-packages/yaml/__init__.py")
    assert dev.keep_sources(dict.fromkeys((*projects, *modules))) == dict.fromkeys(projects)


def test_a_machine_of_the_same_name_that_runs_already_is_left_alone(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = session.root / "out"
    out.mkdir()
    booted: list[object] = []
    monkeypatch.setattr(
        "builder.build.build_definition", lambda _: SimpleNamespace(seconds=0.0, manifest=out / "build.json")
    )
    monkeypatch.setattr("builder.cli.run.has_ssh_server", lambda _: True)
    monkeypatch.setattr("builder.cli.run.run", lambda words, _: booted.append(words.name))
    monkeypatch.setattr(dev, "make_name", lambda _: "app-dev")
    args = SimpleNamespace(out=out, memory=512, config=None, publish=["8080:80"], kernel=True)

    def boot(*running: str) -> str:
        registry = SimpleNamespace(list=lambda: [SimpleNamespace(name=name) for name in running])
        return dev.build_and_boot(args, Path("os.yaml"), registry, session.console)  # type: ignore[arg-type] # stand-ins

    with pytest.raises(InputError, match="a machine named app-dev runs already"):
        boot("app-dev")
    assert booted == []
    assert boot("web-1") == "app-dev"
    assert booted == ["app-dev"]


def test_a_machine_that_was_not_booted_here_is_not_replaced(session: Session) -> None:
    def refuse() -> dev.Followed:
        raise InputError("web-1 was not booted by this")

    session.machine.renew = refuse
    said = session.follow(session.write("os.yaml", SYSTEM + "packages: [htop]\n"), lambda: True)
    assert "warning: web-1 was not booted by this" in said


@pytest.mark.parametrize("is_kept", [False, True])
def test_what_was_saved_after_the_build_of_a_machine_that_runs_already_is_named(
    session: Session, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    out = session.root / ("elsewhere" if is_kept else "out")
    out.mkdir()
    (out / "build.json").write_text("{}")
    kept = SimpleNamespace(
        list_names=list, has=lambda _: is_kept, find=lambda _: SimpleNamespace(build_json=out / "build.json")
    )
    record = SimpleNamespace(folder=session.root / "out/vm/web-1", find_ssh_target=lambda _: session.machine.target)
    monkeypatch.setattr("builder.cli.machines.open_kept_machines", lambda: kept)
    monkeypatch.setattr("builder.cli.machines.open_registry", lambda _: SimpleNamespace(find=lambda *_: record))
    monkeypatch.setattr("builder.cli.ssh.find_tools", lambda _: session.root)
    monkeypatch.setattr("builder.cli.app.keep_connection", lambda target, _: nullcontext(target))
    names = ("os.yaml", "overlays/mine/etc/motd", UNIT)
    long_after_this_checkout = time.time() + 3600  # whose own files belong to the definition
    for name, age in zip((*names, out / "build.json"), (3, 0, 3, 2), strict=True):
        os.utime(session.root / name, (long_after_this_checkout - age * 60,) * 2)
    args = SimpleNamespace(machine="web-1")
    with dev.open_machine(args, Path("os.yaml"), session.console) as machine:  # type: ignore[arg-type] # stand-in
        assert machine.target == session.machine.target
    (said,) = session.console.said
    assert said.endswith(f"put only when changed again: {session.root}/overlays/mine/etc/motd")
