"""A stage runs again when something it depends on has changed, says what, and not otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from builder.core import inputs as module
from builder.core.inputs import collect_inputs, explain_change, hash_source
from builder.debian.scripts import handlers
from builder.definition.model import Compression, Presets
from builder.definition.shipped import NamedDirectory
from builder.definition.template import Values
from builder.stages.overlays import Overlays
from builder.stages.packages import Packages
from builder.stages.plan import derive_stage_key

pytestmark = pytest.mark.unit


def key_of(stage: Any, before: str) -> str:
    return derive_stage_key(stage, before, collect_inputs(stage))


@dataclass(frozen=True)
class Named:
    name: str
    value: int


@dataclass(frozen=True)
class Everything:
    """A stage with every kind of field."""

    name: ClassVar[str] = "everything"
    checkpoint: ClassVar[bool] = False

    text: str = "a"
    number: int = 1
    yes: bool = True
    nothing: str | None = None
    data: bytes = b"x"
    compression: Compression = Compression.LZ4
    presets: Presets = field(default_factory=lambda: Presets(enable=("a.service",)))
    words: tuple[str, ...] = ("a", "b")
    named: tuple[Named, ...] = (Named("x", 1), Named("y", 2))
    mapping: Mapping[str, int] = field(default_factory=lambda: {"k": 1})
    chosen: frozenset[str] = frozenset({"p", "q"})
    path: Path | None = None


BASE = Everything()


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"text": "b"}, "text changed"),
        ({"number": 2}, "number changed"),
        ({"yes": False}, "yes changed"),
        ({"nothing": ""}, "nothing changed"),
        ({"data": b"y"}, "data changed"),
        ({"compression": Compression.ZSTD}, "compression changed"),
        ({"presets": Presets(enable=("b.service",))}, "presets changed"),
        ({"words": ("a", "c")}, "words[1] changed"),
        ({"words": ("a", "b", "c")}, "words[2] is new"),
        ({"words": ("a",)}, "words[1] is gone"),
        ({"named": (Named("x", 1), Named("y", 3))}, "named[y].value changed"),
        ({"named": (Named("x", 1),)}, "named[y].name is gone, named[y].value is gone"),
        ({"named": (Named("y", 2), Named("x", 1))}, "the order of its inputs changed"),
        ({"mapping": {"k": 2}}, "mapping.k changed"),
        ({"chosen": frozenset({"p", "r"})}, "chosen[1] changed"),
    ],
    ids=str,
)
def test_any_field_changes_the_key_and_the_reason_names_it(change: dict[str, Any], label: str) -> None:
    changed = replace(BASE, **change)
    assert key_of(changed, "before") != key_of(BASE, "before")
    assert explain_change(collect_inputs(BASE), collect_inputs(changed)) == label


def test_the_key_is_the_same_for_the_same_inputs() -> None:
    again = Everything(mapping=dict(BASE.mapping), chosen=frozenset({"q", "p"}), named=(Named("x", 1), Named("y", 2)))
    assert key_of(again, "before") == key_of(BASE, "before")


def test_what_a_link_leads_to_is_looked_at(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Of:
        name: ClassVar[str] = "of"
        checkpoint: ClassVar[bool] = False
        path: Path

    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("before")
    (tmp_path / "directory").symlink_to("real")
    (tmp_path / "link").symlink_to("real/file")
    (tmp_path / "broken").symlink_to("nowhere")
    before = [collect_inputs(Of(tmp_path / name)) for name in ("directory", "link", "broken")]
    (tmp_path / "real/file").write_text("after, and longer")
    after = [collect_inputs(Of(tmp_path / name)) for name in ("directory", "link", "broken")]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, False, True]


def test_the_order_of_a_mapping_does_not_matter() -> None:
    one, other = replace(BASE, mapping={"a": 1, "b": 2}), replace(BASE, mapping={"b": 2, "a": 1})
    assert key_of(one, "") == key_of(other, "")


def test_the_key_depends_on_the_stage_before_and_on_the_kind_of_stage() -> None:
    @dataclass(frozen=True)
    class Other(Everything):
        pass

    assert key_of(BASE, "one") != key_of(BASE, "two")
    assert key_of(Other(), "one") != key_of(BASE, "one")
    assert explain_change(collect_inputs(BASE), collect_inputs(BASE)) == "an earlier stage runs"


def test_two_things_of_one_name_are_both_looked_at() -> None:
    one = replace(BASE, named=(Named("x", 1), Named("x", 2)))
    other = replace(BASE, named=(Named("x", 9), Named("x", 2)))
    assert key_of(one, "") != key_of(other, "")


def test_many_changes_are_summed_up() -> None:
    before = {f"a{number}": "1" for number in range(5)}
    now = {f"a{number}": "2" for number in range(5)}
    assert explain_change(before, now) == "a0 changed, a1 changed, a2 changed and 2 more"
    del now["a3"], now["a4"], before["a3"], before["a4"]
    assert explain_change(before, now) == "a0 changed, a1 changed, a2 changed"


def test_a_stage_cannot_depend_on_what_has_no_stable_form() -> None:
    with pytest.raises(TypeError, match=r"a stage cannot depend on a object: text"):
        collect_inputs(replace(BASE, text=object()))


# --- files -----------------------------------------------------------------------------------------


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    root = tmp_path / "overlay"
    (root / "etc").mkdir(parents=True)
    (root / "etc/motd").write_text("hello")
    (root / "etc/link").symlink_to("motd")
    (root / "run.sh").write_text("#!/bin/sh")
    return root


def key(root: Path) -> str:
    return key_of(replace(BASE, path=root), "")


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        (lambda root: (root / "etc/motd").write_text("Hello"), "path:etc/motd changed"),
        (lambda root: (root / "run.sh").chmod(0o755), "path:run.sh changed"),
        (lambda root: (root / "etc/new").touch(), "path:etc/new is new"),
        (lambda root: (root / "etc/motd").unlink(), "path:etc/motd is gone"),
        (lambda root: relink(root / "etc/link", "elsewhere"), "path:etc/link changed"),
        (lambda root: (root / "empty").mkdir(), "path:empty is new"),
        (lambda root: (root / "run.sh").rename(root / "go.sh"), "path:go.sh is new, path:run.sh is gone"),
    ],
)
def test_a_directorys_content_decides(overlay: Path, change: Callable[[Path], object], label: str) -> None:
    before, inputs = key(overlay), collect_inputs(replace(BASE, path=overlay))
    change(overlay)
    assert key(overlay) != before
    assert explain_change(inputs, collect_inputs(replace(BASE, path=overlay))) == label


@pytest.mark.parametrize(
    "change",
    [
        lambda root: os.utime(root / "etc/motd", (1, 1)),
        lambda root: (root / "run.sh").chmod(0o600),
        lambda root: (root / "etc").chmod(0o700),
        lambda root: ((root / "etc/__pycache__").mkdir(), (root / "etc/__pycache__/x.pyc").touch()),
    ],
)
def test_what_does_not_get_into_the_image_does_not_decide(overlay: Path, change: Callable[[Path], object]) -> None:
    before = key(overlay)
    change(overlay)
    assert key(overlay) == before


def test_where_a_directory_lies_does_not_decide(overlay: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another" / "place"
    shutil.copytree(overlay, copy, symlinks=True)
    assert key(copy) == key(overlay)


def test_a_single_file_is_known_by_name_and_content(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text("a")
    before = key(path)
    path.write_text("b")
    assert key(path) != before


def test_the_order_of_overlays_decides_because_the_later_wins(overlay: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    a, b = NamedDirectory("a", overlay), NamedDirectory("b", other)
    values = Values("demo", "1", "amd64", "trixie")
    assert key_of(Overlays((a, b), values), "") != key_of(Overlays((b, a), values), "")


# --- our own code ----------------------------------------------------------------------------------


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Replaces build-os by modules that the test writes."""
    monkeypatch.setattr(module, "ROOT", tmp_path)
    hash_source.cache_clear()
    monkeypatch.setattr(module, "hash_source", hash_source.__wrapped__)

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        module._source.cache_clear()

    return write


@pytest.mark.parametrize(
    "line",
    [
        "from builder.tree.node import make_file",
        "from builder.tree import node",
        "from builder.tree import (\n    elf,\n    node,  # why\n)",
        "import builder.tree.node",
        "def late():\n    from builder.tree.node import make_file  # noqa",
    ],
)
def test_a_stage_depends_on_the_code_that_it_imports(code: Callable[[str, str], None], line: str) -> None:
    code("builder/stages/a.py", line)
    code("builder/tree/node.py", "x = 1")
    code("builder/tree/__init__.py", "")
    before = module.hash_source("builder.stages.a")
    code("builder/tree/node.py", "x = 2")
    assert module.hash_source("builder.stages.a") != before


def test_a_stage_depends_on_imports_of_imports_and_on_nothing_else(code: Callable[[str, str], None]) -> None:
    code("builder/stages/a.py", "import os\nfrom builder.b import x\n")
    code("builder/b.py", "from builder.c import y\nfrom builder.core.console import Console\n")
    code("builder/c.py", "from builder.b import x\n")
    code("builder/core/console.py", "")
    before = module.hash_source("builder.stages.a")
    code("builder/other.py", "new")
    code("builder/core/console.py", "how progress looks")
    assert module.hash_source("builder.stages.a") == before
    code("builder/c.py", "from builder.b import x\nz = 1\n")
    assert module.hash_source("builder.stages.a") != before


def test_a_stage_depends_on_programs_that_lie_beside_a_module_and_are_started_by_it(
    code: Callable[[str, str], None],
) -> None:
    code("builder/stages/a.py", "from builder.core.b import x\n")
    code("builder/core/b.py", 'PROGRAM = Path(__file__).with_name("started.py")\nother = "elsewhere.py"\n')
    code("builder/core/started.py", "from builder.core.c import y\n")
    code("builder/core/c.py", "y = 1\n")
    keys = {module.hash_source("builder.stages.a")}
    code("builder/core/started.py", "from builder.core.c import y\nprint(y)\n")
    keys.add(module.hash_source("builder.stages.a"))
    code("builder/core/c.py", "y = 2\n")
    keys.add(module.hash_source("builder.stages.a"))
    assert len(keys) == 3


def test_the_packages_stage_depends_on_every_subject_of_scripts_and_on_all_of_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(module.__file__).parents[2]
    shutil.copytree(repository / "builder", tmp_path / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def fresh(name: str) -> str:
        module._source.cache_clear()
        return hash_source.__wrapped__(name)

    before = fresh(Packages.__module__)
    core = tmp_path / "builder/core"
    sandbox = [core / f"{name}.py" for name in ("sandbox", "launch", "syscalls", "enter", "tools")]
    scripts = tmp_path / "builder/debian/scripts"
    for path in (
        *sorted((scripts / "subjects").rglob("[!_]*.py")),
        *sorted(scripts.glob("sandbox/[!_]*.py")),
        *sandbox,
    ):
        text = path.read_text()
        path.write_text(text + "\n# changed\n")
        assert fresh(Packages.__module__) != before, f"{path.name} is not looked at"
        path.write_text(text)
    assert fresh(Packages.__module__) == before
    assert len(handlers.HANDLERS) > 5
