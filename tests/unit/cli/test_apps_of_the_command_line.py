"""``app``: which app, which machine, what is sent, and what a machine's answer means."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.cli import app as command
from builder.core.tools import Tools
from tests.support.command import Outcome, run_command
from vm.registry.ssh import SshTarget

pytestmark = pytest.mark.unit

DEFINITION = """\
name: shop
version: "1"
features: [base]
apps:
  - {name: shop, directory: app, module: shop.web, description: The front}
  - {name: pool, module: http.server, instances: 2}
"""


class Machine:
    """Stands for ssh: remembers what it was told, and ends as it should."""

    def __init__(self) -> None:
        self.status = 0
        self.has_environment = True
        self.calls: list[tuple[list[str], bytes]] = []
        self.commands: list[list[str]] = []

    def run(self, argv: list[str], *, input: bytes, **_: Any) -> SimpleNamespace:
        self.calls.append((shlex.split(argv[-1]), input))
        self.commands.append(argv)
        words = self.calls[-1][0]
        self.has_environment |= "environment" in words
        return SimpleNamespace(returncode=self.status if self.has_environment else command.NOT_THERE)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, fake_tools: Tools) -> Machine:
    stand_in = Machine()
    monkeypatch.setattr("builder.cli.app.subprocess", stand_in)
    fake_tools.programs.update({"python3": lambda *_, **__: "", "ssh": lambda *_: ""})  # type: ignore[attr-defined]
    monkeypatch.setattr(type(fake_tools), "make_argv", lambda _, *words, **__: [*words])
    monkeypatch.setattr(command, "find_machine", lambda *_: (SshTarget(22, "core", host="203.0.113.7"), fake_tools))
    return stand_in


@pytest.fixture
def build_os(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest needs its own
    (tmp_path / "app" / "shop").mkdir(parents=True)
    (tmp_path / "app" / "shop" / "web.py").write_text("print('hello')\n")
    (tmp_path / "app" / ".env").write_text("SECRET=1\n")
    (tmp_path / "os.yaml").write_text(DEFINITION)
    return partial(run_command, capsys)


def test_the_apps_of_a_definition_are_listed(build_os: Any) -> None:
    lines = build_os("app", "list").out.splitlines()
    assert lines == ["shop\tshop.service\tThe front", "pool\tpool@1.service pool@2.service"]


def test_a_push_sends_the_apps_own_files_and_nothing_hidden(build_os: Any, machine: Machine) -> None:
    outcome: Outcome = build_os("app", "push", "shop")
    assert outcome.status == 0
    ((words, archive),) = machine.calls
    assert words[:5] == ["sudo", "-n", "/usr/lib/build-os/switch-app", "push", "shop"]
    assert words[6:] == ["/usr/lib/apps/shop"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        names = opened.getnames()
    assert "usr/lib/apps/shop/shop/web.py" in [name.removeprefix("./") for name in names]
    assert not [name for name in names if ".env" in name]
    build_os("app", "push", "shop")
    assert machine.calls[1][0] == words, "the same files are the same version"


def test_an_environment_is_sent_where_the_machine_has_another(
    build_os: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = SimpleNamespace(environment=SimpleNamespace(name="web"), digest="d1")
    monkeypatch.setattr(command, "lock_app_environment", lambda *_: environment)
    monkeypatch.setattr("builder.build.app_environment.make_environment_archive", lambda *_: b"wheels")
    assert build_os("app", "push", "shop").status == 0
    ((first, _),) = machine.calls
    assert first[-2:] == ["web", "d1"]
    machine.calls.clear()
    machine.has_environment = False
    environment.digest = "d2"
    assert build_os("app", "push", "shop").status == 0
    assert [words[3] for words, _ in machine.calls] == ["push", "environment", "push"]
    assert machine.calls[1] == (["sudo", "-n", command.PROGRAM, "environment", "d2"], b"wheels")
    assert machine.calls[2][0][5] != first[5], "other wheels are another version"
    assert machine.calls[2][0] == machine.calls[0][0]


def test_each_change_is_pushed_by_one_connection(
    build_os: Any, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_tools: Tools
) -> None:
    kept: list[list[str]] = []

    @contextmanager
    def spawn(_: Tools, *argv: str, **__: Any) -> Iterator[None]:
        kept.append([*argv])
        yield
        kept.append([])

    module = tmp_path / "app" / "shop" / "web.py"
    texts = ["print('one')\n", "print(", "print('three')\n"]

    def sleep(_: float) -> None:
        """The user, between two looks at the files."""
        if not texts:
            raise KeyboardInterrupt
        module.write_text(texts.pop(0))

    monkeypatch.setattr(type(fake_tools), "spawn", spawn)
    monkeypatch.setattr("builder.cli.app.time.sleep", sleep)
    outcome: Outcome = build_os("app", "push", "shop", "--watch")
    assert outcome.status == 0
    assert len({words[5] for words, _ in machine.calls}) == len(machine.calls) >= 3
    connection, closed = kept
    assert ("-M" in connection, closed) == (True, [])
    control = connection[connection.index("-S") + 1]
    assert all(argv[argv.index("-S") + 1] == control for argv in machine.commands)
    assert not Path(control).parent.exists()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (1, 5, "shop did not become ready"),
        (2, 2, "there is no app 'shop' on 203.0.113.7"),
        (127, 2, "the image of 203.0.113.7 has no apps"),
        (255, 5, "cannot log in as core at 203.0.113.7:22"),
    ],
)
def test_what_a_machine_answers_is_said(build_os: Any, machine: Machine, status: int, code: int, said: str) -> None:
    machine.status = status
    for words in (("push", "shop"), ("revert", "shop")):
        outcome: Outcome = build_os("app", *words)
        assert outcome.status == code
        assert said in outcome.err


@pytest.mark.usefixtures("machine")
def test_an_app_that_cannot_be_pushed_is_named(build_os: Any) -> None:
    assert "os.yaml has no app 'shp' (did you mean 'shop'?)" in build_os("app", "push", "shp").err
    assert "the app 'pool' has no directory of its own" in build_os("app", "push", "pool").err
    assert "say what to do with apps" in build_os("app").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "core@h:x"], "'core@h:x' is not USER@HOST"),
        (["--host", "core@h", "-m", "web"], "one machine, please"),
        (["--host", "core@h"], "there is no out/build.json"),
    ],
)
def test_which_machine_is_meant_is_said_in_one_way(build_os: Any, words: list[str], said: str) -> None:
    outcome: Outcome = build_os("app", "revert", "shop", *words)
    assert outcome.status == 2
    assert said in outcome.err
