"""A command that changed nothing says the same again at once; never where anything that it depends on has changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.cli.main import main
from builder.core import seen
from builder.core.remembered import NOTE, OUTPUT, WARNING, derive_answer_key, recall, remember
from builder.core.seen import Seen
from builder.core.store import Store
from builder.definition import load as load_module

pytestmark = pytest.mark.unit

SYSTEM = 'name: app\nversion: "1"\nfeatures: [mine]\noverlays: [mine, toolbox]\nunits: [ssh]\nfirstboot: first.yaml\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A definition with all that one names, in a repository of its own."""
    monkeypatch.setattr(seen, "YOUNG", -1)
    monkeypatch.setattr(seen, "YOUNG_IN_SECONDS", -1)
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "store"))
    root = tmp_path / "project"
    for name, text in {
        "os.yaml": SYSTEM,
        ".git/HEAD": "",
        "first.yaml": "variant: buildos\nversion: 1.0.0\n",
        "configs/features/mine.yaml": "description: Mine.\n",
        "overlays/mine/etc/motd": "hello\n",
        "overlays/mine/etc/name.j2": "{{ name }}\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    yield root
    seen.pause()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each definition that is read."""
    read: list[Path] = []
    real = load_module.load

    def load(path: Path, **more: object) -> object:
        read.append(path)
        return real(path, **more)  # type: ignore[arg-type] # as it is called

    monkeypatch.setattr(load_module, "load", load)
    return read


def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--progress=plain"])
    assert ended.value.code == 0


@pytest.mark.parametrize("command", ["check", "plan"])
def test_the_same_again_is_said_without_reading_the_definition(
    command: str, project: Path, loads: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    call(command)
    first = capsys.readouterr()
    call(command)
    assert capsys.readouterr() == first
    assert first.out or first.err
    assert len(loads) == 1


CHANGES: dict[str, Callable[[Path], object]] = {
    "the definition": lambda root: (root / "os.yaml").write_text(SYSTEM + "remove: [/usr/share/x]\n"),
    "a feature": lambda root: (root / "configs/features/mine.yaml").write_text("description: Mine, and better.\n"),
    "a feature of the same name in another place": lambda root: put(
        root / "configs/features/mine.yaml", "description: B.\n"
    ),
    "an overlay's template": lambda root: (root / "overlays/mine/etc/name.j2").write_text("{{ version }}\n"),
    "an overlay's file": lambda root: (root / "overlays/mine/etc/new").write_text(""),
    "the rights of an overlay's file": lambda root: (root / "overlays/mine/etc/motd").chmod(0o755),
    "the first-boot config": lambda root: (root / "first.yaml").write_text("variant: buildos\nversion: 1.0.0\n# \n"),
    "an overlay that covers a shipped one": lambda root: put(root / "overlays/toolbox/etc/motd", ""),
    "units that cover shipped ones": lambda root: put(
        root / "units/ssh/x.service", "[Service]\nExecStart=/usr/bin/true\n"
    ),
    "no repository any more": lambda root: (root / ".git").rename(root / "git"),
}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_anything_that_was_looked_at_reads_it_again(change: str, project: Path, loads: list[Path]) -> None:
    call("check")
    call("check")
    assert len(loads) == 1
    CHANGES[change](project)
    call("check")
    assert len(loads) == 2


def test_another_environment_another_word_or_another_place_is_another_question(
    project: Path, loads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("check")
    monkeypatch.setenv("CI", "true")
    call("check")
    call("check", "--strict")
    monkeypatch.chdir(project / "overlays")
    call("check", "../os.yaml")
    assert len(loads) == 4
    monkeypatch.setenv("COLUMNS", "33")
    call("check", "../os.yaml")
    assert len(loads) == 4


def test_a_refusal_is_not_remembered(project: Path, loads: list[Path]) -> None:
    (project / "os.yaml").write_text("name: app\n")
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["check"])
        assert ended.value.code == 2
    assert len(loads) == 2


def test_what_was_written_only_just_now_is_not_remembered(
    project: Path, loads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "YOUNG", 60 * seen.SECOND)
    call("check")
    call("check")
    assert len(loads) == 2


def test_an_answer_that_is_damaged_or_cannot_be_kept_is_none(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    key = derive_answer_key(["check"], {"A": "b"})
    remember(store, key, Seen(), [(WARNING, "w"), (NOTE, "n"), (OUTPUT, "o\n")])
    assert recall(store, key) == [("warning", "w"), ("note", "n"), ("output", "o\n")]
    (seal,) = (store.root / "answers").iterdir()
    seal.write_bytes(seal.read_bytes().replace(b'"o', b'"p'))
    assert recall(store, key) is None
    assert derive_answer_key(["check"], {"A": "c"}) != key
    looked_at = Seen()
    looked_at.is_certain = False
    remember(store, "other", looked_at, [])
    assert recall(store, "other") is None
    if os.getuid():
        store.root.chmod(0o500)
    remember(Store(tmp_path / "store/answers" / seal.name), key, Seen(), [])  # a file in the store's place: no error
