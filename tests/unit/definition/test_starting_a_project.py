"""``build-os init``: a directory that loads, and nothing of the user's overwritten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.definition.init import PYTHON_APP, find_public_keys, list_templates, write_starter_files
from builder.definition.load import load
from firstboot.config.document import read

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIR3nxzDSvMUE2ZPJGgZkzGk8h3WcS1Kz6xUv6mXb1Zq"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return tmp_path / "home"


def test_the_new_definition_loads_without_a_complaint(tmp_path: Path, home: Path) -> None:
    write_starter_files(tmp_path / "os", "demo", home=home)
    loaded = load(tmp_path / "os" / "os.yaml")
    assert loaded.warnings == ()
    assert loaded.resolved.name == "demo"
    assert [overlay.path for overlay in loaded.resolved.overlays][-1] == tmp_path / "os" / "overlays" / "os"
    assert "hello.service" in loaded.resolved.presets.enable


@pytest.mark.parametrize("template", [each for each in list_templates() if each != PYTHON_APP])
def test_every_template_loads_without_a_complaint(template: str, tmp_path: Path, home: Path) -> None:
    written = write_starter_files(tmp_path / "os", "demo", template=template, home=home)
    assert load(tmp_path / "os" / "os.yaml").warnings == ()
    names = [str(path.relative_to(tmp_path / "os")) for path in written]
    assert names[0] == "os.yaml"
    assert {"README.md", ".gitignore", "machines/first.yaml", "tests/test_boot.py"} <= set(names)
    assert not any(mark in path.read_text() for path in written for mark in ("@NAME@", "@KEYS@"))


def test_a_template_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match=r"no template 'web'(?s:.*)default, container-from-registry"):
        write_starter_files(tmp_path / "os", "demo", template="web", home=home)
    assert not (tmp_path / "os").exists()


def test_all_files_are_named_and_hold_no_marks(tmp_path: Path, home: Path) -> None:
    written = write_starter_files(tmp_path, "demo", home=home)
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "os.yaml",
        "README.md",
        ".gitignore",
        "machines/first.yaml",
        "overlays/os/etc/motd.j2",
        "tests/test_boot.py",
        "units/hello/hello.service",
    ]
    for path in written:
        assert "@NAME@" not in path.read_text()
        assert "@KEYS@" not in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o644
    assert "out/" in (tmp_path / ".gitignore").read_text()


def test_the_example_machine_lets_its_maker_in(tmp_path: Path, home: Path) -> None:
    (home / ".ssh" / "id_ed25519.pub").write_text(f'{KEY} me "quoted" @home\n')
    (home / ".ssh" / "id_ed25519").write_text("PRIVATE")
    write_starter_files(tmp_path / "os", "demo", home=home)
    text = (tmp_path / "os" / "machines" / "first.yaml").read_text()
    assert "PRIVATE" not in text
    document = read(text, "first.yaml")
    assert document.problems == ()
    assert document.config is not None
    assert document.config.passwd is not None
    assert document.config.passwd.users[0].ssh_authorized_keys == (f'{KEY} me "quoted" @home',)


def test_without_a_key_the_example_machine_says_where_one_goes(tmp_path: Path, home: Path) -> None:
    write_starter_files(tmp_path / "os", "demo", home=home)
    text = (tmp_path / "os" / "machines" / "first.yaml").read_text()
    assert "put yours here" in text
    assert read(text, "first.yaml").errors == ()


def test_only_public_keys_are_read(home: Path) -> None:
    ssh = home / ".ssh"
    (ssh / "a.pub").write_text(KEY)
    (ssh / "same.pub").write_text(KEY + "\n")
    (ssh / "b-cert.pub").write_text("ssh-ed25519-cert-v01@openssh.com AAAA me")
    (ssh / "private.pub").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    (ssh / "two.pub").write_text(f"{KEY}\nssh-rsa AAAA\n")
    (ssh / "binary.pub").write_bytes(b"\xff\xfe")
    (ssh / "dir.pub").mkdir()
    assert find_public_keys(home) == [KEY]
    assert find_public_keys(home / "nobody") == []


def test_nothing_is_overwritten(tmp_path: Path, home: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    with pytest.raises(InputError) as caught:
        write_starter_files(tmp_path, "demo", home=home)
    assert [Path(line).name for line in caught.value.details] == ["README.md", ".gitignore"]
    assert (tmp_path / "README.md").read_text() == "mine"
    assert not (tmp_path / "os.yaml").exists()


def test_a_bad_name_is_refused_before_anything_is_written(tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match="'My OS' cannot be the name: a name is lower-case"):
        write_starter_files(tmp_path / "os", "My OS", home=home)
    assert not (tmp_path / "os").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, home: Path) -> None:
    (tmp_path / "os").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        write_starter_files(tmp_path / "os", "demo", home=home)


def test_the_new_test_is_python(tmp_path: Path, home: Path) -> None:
    write_starter_files(tmp_path, "demo", home=home)
    ast.parse((tmp_path / "tests" / "test_boot.py").read_text())
