"""The user's files and units in the root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.core.tools import Tools
from builder.definition.shipped import NamedDirectory
from builder.definition.template import Values
from builder.stages import units as units_module
from builder.stages.overlays import Overlays
from builder.stages.stage import Context
from builder.stages.units import Units
from builder.tree.node import Kind, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, TreeError

pytestmark = pytest.mark.unit

VALUES = Values("demo", "1.0", "amd64", "trixie", ("base",), {"port": 8080})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "parts"


def part(root: Path, name: str, **files: str) -> NamedDirectory:
    """A directory of files; ``__`` in a name is ``/``, ``___`` is ``.``"""
    path = root / name
    path.mkdir(parents=True, exist_ok=True)
    for key, text in files.items():
        target = path / key.replace("___", ".").replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return NamedDirectory(name, path)


# --- overlays --------------------------------------------------------------------------------------


def test_files_are_laid_over_the_root_owned_by_root(root: Path, context: Context) -> None:
    web = part(root, "web", etc__motd="hello", usr__bin__run="#!/bin/sh")
    (web.path / "usr/bin/run").chmod(0o750)
    (web.path / "etc/link").symlink_to("motd")
    tree = Overlays((web,), VALUES).apply(Tree(), context)
    found = tree.require("/etc/motd")
    assert (tree.read("/etc/motd"), found.mode, found.uid, found.origin) == (b"hello", 0o644, 0, "overlay:web")
    assert tree.require("/usr/bin/run").mode == 0o755
    assert tree.require("/etc/link", follow=False).target == "motd"


def test_the_later_overlay_wins(root: Path, context: Context) -> None:
    one, two = part(root, "one", a="1", b="1"), part(root, "two", b="2")
    tree = Overlays((one, two), VALUES).apply(Tree(), context)
    assert (tree.read("/a"), tree.read("/b")) == (b"1", b"2")
    assert tree.require("/b").origin == "overlay:two"


def test_a_template_is_filled_in_and_loses_its_ending(root: Path, context: Context) -> None:
    web = part(root, "web", etc__port___j2="{{ name }} listens on {{ variables.port }}\n")
    (web.path / "etc/port.j2").chmod(0o755)
    tree = Overlays((web,), VALUES).apply(Tree(), context)
    assert tree.read_text("/etc/port") == "demo listens on 8080\n"
    assert tree.require("/etc/port").mode == 0o755
    assert "/etc/port.j2" not in tree


def test_a_template_that_does_not_fill_in_is_shown_with_its_line(root: Path, context: Context) -> None:
    web = part(root, "web", etc__port___j2="fine\n{{ variables.prot }}\n")
    with pytest.raises(InputError, match=r"etc/port\.j2:2") as caught:
        Overlays((web,), VALUES).apply(Tree(), context)
    assert "prot" in str(caught.value)


def test_only_the_readme_at_the_top_is_left_out(root: Path, context: Context) -> None:
    web = part(root, "web", README___md="about", etc__README___md="belongs to it")
    tree = Overlays((web,), VALUES).apply(Tree(), context)
    assert "/README.md" not in tree
    assert tree.read("/etc/README.md") == b"belongs to it"


def test_bytecode_of_the_host_is_left_out(root: Path, context: Context) -> None:
    app = part(root, "app", usr__lib__app__app___py="VALUE = 1")
    (app.path / "usr/lib/app/__pycache__").mkdir()
    (app.path / "usr/lib/app/__pycache__/app.cpython-311.pyc").touch()
    tree = Overlays((app,), VALUES).apply(Tree(), context)
    assert "/usr/lib/app/app.py" in tree
    assert "/usr/lib/app/__pycache__" not in tree


def test_a_directory_that_is_there_keeps_its_owner_and_mode(root: Path, context: Context) -> None:
    tree = Tree()
    tree.put("/var/log/journal", make_directory(0o2755, gid=999, origin="package:systemd"))
    web = part(root, "web", var__log__journal__keep="x")
    tree = Overlays((web,), VALUES).apply(tree, context)
    found = tree.require("/var/log/journal")
    assert (found.mode, found.gid, found.origin) == (0o2755, 999, "package:systemd")
    assert "/var/log/journal/keep" in tree


def test_a_directory_goes_through_a_link_of_the_root(root: Path, context: Context) -> None:
    tree = Tree()
    tree.put("/usr/lib", make_directory(origin="package:base-files"))
    tree.put("/lib", make_symlink("usr/lib", origin="package:base-files"))
    tree = Overlays((part(root, "web", lib__x="x"),), VALUES).apply(tree, context)
    assert tree.require("/lib", follow=False).kind is Kind.SYMLINK
    assert tree.read("/usr/lib/x") == b"x"


def test_a_file_in_the_place_of_a_full_directory_is_refused(root: Path, context: Context) -> None:
    tree = Tree()
    tree.put("/etc/ssh/config", make_file("x", origin="package:ssh"))
    with pytest.raises(TreeError, match="/etc/ssh is a directory with content"):
        Overlays((part(root, "web", etc__ssh="x"),), VALUES).apply(tree, context)


# --- units -----------------------------------------------------------------------------------------


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Tree]:
    """Trees that presets would have been applied to."""
    seen: list[Tree] = []
    monkeypatch.setattr(units_module, "apply_presets", lambda tree, *_: seen.append(tree.copy()))
    return seen


@pytest.fixture
def tree() -> Tree:
    tree = Tree()
    for name in ("sshd.service", "getty@.service", "nftables.service", "systemd-networkd.service"):
        tree.put(f"/usr/lib/systemd/system/{name}", make_file("", origin="package:a"))
    return tree


def units(
    *directories: NamedDirectory,
    enable: tuple[str, ...] = (),
    disable: tuple[str, ...] = (),
    mask: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Units:
    return Units(directories, enable, disable, mask, VALUES, optional)


def test_presets_of_a_package_that_was_left_out_go_silently(tree: Tree, context: Context, applied: list[Tree]) -> None:
    gone = ("timesyncd.service", "time-wait.service", "sshd.service")
    units(enable=("sshd.service", "timesyncd.service"), disable=("time-wait.service",), optional=gone).apply(
        tree, context
    )
    assert applied[0].read_text("/usr/lib/systemd/system-preset/10-image.preset") == "enable sshd.service\n"
    with pytest.raises(InputError, match="presets name units") as caught:
        units(enable=("timesyncd.service", "nftabels.service"), optional=gone).apply(tree, context)
    assert [line.split(":")[0] for line in caught.value.details] == ["nftabels.service"]


def test_presets_say_what_the_definition_says(tree: Tree, context: Context, applied: list[Tree]) -> None:
    units(enable=("sshd.service", "getty@tty1.service"), disable=("nftables.service",)).apply(tree, context)
    assert applied[0].read_text("/usr/lib/systemd/system-preset/10-image.preset") == (
        "enable sshd.service\nenable getty@tty1.service\ndisable nftables.service\n"
    )


def test_a_masked_unit_stays_masked_whatever_presets_do(
    tree: Tree, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "/etc/systemd/system/getty@tty1.service"
    monkeypatch.setattr(units_module, "apply_presets", lambda tree, *_: tree.remove(where))
    tree = units(mask=("getty@tty1.service",)).apply(tree, context)
    assert tree.require(where, follow=False).target == "/dev/null"


def test_units_presets_and_quadlets_go_where_they_are_read(
    tree: Tree, context: Context, applied: list[Tree], root: Path
) -> None:
    base = part(
        root,
        "base",
        app___service="[Service]",
        app___service___d__10___conf="[Unit]",
        web___container="[Container]",
        web___container___d__x___conf="[Container]",
        data___volume="[Volume]",
        x___preset="enable app.service",
        port___service___j2="port={{ variables.port }}",
        README___md="about",
    )
    tree = units(base, enable=("app.service", "port.service")).apply(tree, context)
    below = ("/usr/lib/systemd/system/", "/usr/share/containers/systemd/", "/usr/lib/systemd/system-preset/")
    found = [p for p, n in tree.walk() if n.kind is Kind.FILE and p.startswith(below) and n.origin != "package:a"]
    assert found == [
        "/usr/lib/systemd/system-preset/10-image.preset",
        "/usr/lib/systemd/system-preset/x.preset",
        "/usr/lib/systemd/system/app.service",
        "/usr/lib/systemd/system/app.service.d/10.conf",
        "/usr/lib/systemd/system/port.service",
        "/usr/share/containers/systemd/data.volume",
        "/usr/share/containers/systemd/web.container",
        "/usr/share/containers/systemd/web.container.d/x.conf",
    ]
    assert tree.read_text("/usr/lib/systemd/system/port.service") == "port=8080"
    assert "/README.md" not in applied[0]


def test_unknown_units_are_all_named_with_the_nearest_name(tree: Tree, context: Context, applied: list[Tree]) -> None:
    stage = units(enable=("ssdh.service", "getty@tty1.service"), disable=("zzz.timer", "foo@1.socket"))
    with pytest.raises(InputError, match="presets name units that the image does not have") as caught:
        stage.apply(tree, context)
    assert caught.value.details == (
        "ssdh.service: no unit of this name is in the image (did you mean 'sshd.service'?)",
        "zzz.timer: no unit of this name is in the image",
        "foo@1.socket: no unit of this name is in the image",
    )
    assert applied == []


def test_a_unit_that_an_overlay_put_into_etc_is_known(tree: Tree, context: Context, applied: list[Tree]) -> None:
    tree.put("/etc/systemd/system/own.service", make_file("", origin="overlay:a"))
    units(enable=("own.service",)).apply(tree, context)
    assert len(applied) == 1


def test_presets_are_applied_offline_and_only_etc_systemd_is_taken_over(tree: Tree, context: Context) -> None:
    calls: list[tuple[str, ...]] = []

    def systemctl(*arguments: str) -> str:
        calls.append(arguments[1:])
        where = Path(arguments[0].removeprefix("--root="))
        assert (where / "usr/lib/systemd/system/sshd.service").exists()
        wants = where / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True, exist_ok=True)
        if "--global" not in arguments:
            (wants / "sshd.service").symlink_to("/usr/lib/systemd/system/sshd.service")
        (where / "usr/lib/systemd/leftover").touch()
        return ""

    context.tools.programs["systemctl"] = systemctl
    tree = units(enable=("sshd.service",)).apply(tree, context)
    assert calls == [("preset-all",), ("--global", "preset-all")]
    link = tree.require("/etc/systemd/system/multi-user.target.wants/sshd.service", follow=False)
    assert (link.target, link.origin) == ("/usr/lib/systemd/system/sshd.service", "stage:units")
    assert "/usr/lib/systemd/leftover" not in tree
    assert list(context.scratch.iterdir()) == []


def test_presets_are_worked_out_again_only_when_something_they_look_at_changed(tree: Tree, context: Context) -> None:
    calls: list[str] = []

    def systemctl(root: str, *words: str) -> str:
        calls.append(words[-1])
        where = Path(root.removeprefix("--root=")) / "etc/systemd/system"
        where.mkdir(parents=True, exist_ok=True)
        if "--global" not in words:
            (where / "alias.service").symlink_to("/usr/lib/systemd/system/sshd.service")
            (where / "old.service").unlink(missing_ok=True)
        return ""

    context.tools.programs["systemctl"] = systemctl
    tree.put("/etc/systemd/system/old.service", make_symlink("/gone", origin="package:a"))
    once = units(enable=("sshd.service",)).apply(tree.copy(), context)
    assert len(calls) == 2
    tree.put("/etc/motd", make_file("nothing that presets look at", origin="overlay:a"))
    again = units(enable=("sshd.service",)).apply(tree.copy(), context)
    assert len(calls) == 2
    for result in (once, again):
        assert result.list_children("/etc/systemd/system") == ["alias.service"]
    units(disable=("sshd.service",)).apply(tree.copy(), context)
    assert len(calls) == 4


def test_a_setting_that_systemd_would_ignore_ends_the_build_at_its_line(
    root: Path, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    app = part(root, "app", app___service="[Service]\nRestrat=always\n", other___service="[Service]\n")
    asked: list[str] = []

    class Analyzed:
        def communicate(self) -> tuple[bytes, bytes]:
            (where,) = (word.partition("=")[2] for word in asked if word.startswith("--root="))
            lines = (
                f"{where}/usr/lib/systemd/system/app.service:2: Unknown key 'Restrat' in section [Service], ignoring.",
                f"{where}/usr/lib/systemd/system/debians.service:2: Unknown key 'Old' in section [Service], ignoring.",
                "other.service: Command /usr/bin/x is not executable: No such file or directory",
            )
            return b"", "\n".join(lines).encode()

    @contextmanager
    def spawn(_: Tools, *command: str, **__: object) -> Iterator[Analyzed]:
        asked.extend(command)
        yield Analyzed()

    monkeypatch.setattr(type(context.tools), "spawn", spawn)
    monkeypatch.setattr(type(context.tools), "find", lambda *_: tmp_path)
    context.tools.programs["systemctl"] = lambda *_: ""
    with pytest.raises(InputError) as caught:
        Units((app,), (), (), (), VALUES).apply(Tree(), context)
    assert caught.value.details == ("parts/app/app.service:2: Unknown key 'Restrat' in section [Service], ignoring.",)
    assert asked[-2:] == ["app.service", "other.service"]
