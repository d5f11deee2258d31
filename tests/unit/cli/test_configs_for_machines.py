"""First-boot configs on their way to a machine, and the tables of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.build import format_table
from builder.cli.configs import read_config
from builder.cli.demo import describe_provisioning, print_table
from builder.cli.login import SSHD_FILE, make_login_config
from builder.core.errors import InputError
from firstboot.config.models import Config
from firstboot.config.urls import decode_data_url
from firstboot.engine import compile as compiling
from firstboot.engine.compile import compile_all
from firstboot.platforms import Fetched

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEl8iaJ0TCrz0hJvHcjZ5q1Z8T0mLRtxV2vHcGkbz1aV build-os"


def with_login(text: str, user: str = "core") -> Config:
    """What a machine makes of a config and ours beside it."""
    texts = [Fetched("ours", make_login_config(user, KEY).encode()), Fetched("machine.yaml", text.encode())]
    return compile_all(texts).config


def test_a_user_who_is_not_in_the_config_can_log_in() -> None:
    users = with_login("variant: fcos\nversion: 1.5.0\n").passwd.users
    assert [(each.name, each.ssh_authorized_keys) for each in users] == [("core", (KEY,)), ("root", (KEY,))]


def test_our_key_is_added_to_the_users_own() -> None:
    users = with_login(
        "variant: fcos\nversion: 1.5.0\npasswd:\n  users:\n    - name: other\n"
        f"    - name: core\n      shell: /bin/bash\n      ssh_authorized_keys: [{KEY} first]\n"
    ).passwd.users
    core = next(each for each in users if each.name == "core")
    assert (core.shell, set(core.ssh_authorized_keys)) == ("/bin/bash", {KEY, f"{KEY} first"})
    assert {each.name for each in users} == {"core", "root", "other"}


def test_root_alone_is_nobody_twice() -> None:
    users = with_login('{"ignition": {"version": "3.4.0"}}', "root").passwd.users
    assert [each.name for each in users] == ["root"]


def test_the_machines_own_word_on_root_and_ssh_wins() -> None:
    mine = with_login(
        "variant: buildos\nversion: 1.0.0\nstorage:\n  files:\n"
        f"    - {{path: {SSHD_FILE}, contents: {{inline: PermitRootLogin no}}}}\n"
    )
    assert [decode_data_url(each.contents.source or "") for each in mine.storage.files] == [b"PermitRootLogin no"]


def test_a_config_is_read_with_its_warnings_or_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text("variant: fcos\nversion: 1.5.0\n")
    assert read_config(path).text == path.read_text()
    path.write_text("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: relative\n")
    with pytest.raises(InputError, match=r"machine\.yaml:5"):
        read_config(path)
    path.write_bytes(b"variant: \xff\n")
    with pytest.raises(InputError, match="it is not UTF-8 text"):
        read_config(path)


def test_a_config_gets_the_files_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    (tmp_path / "motd").write_text("hello\n")
    path.write_text(
        "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - {path: /etc/motd, contents: {local: motd}}\n"
    )
    checked = read_config(path)
    file = compiling.load(checked.text, "compiled").config.storage.files[0]
    assert file.contents.source == "data:,hello%0A"
    (tmp_path / "motd").unlink()
    with pytest.raises(InputError, match=r"machine\.yaml:5.*'motd' cannot be read"):
        read_config(path)


def test_a_table_is_as_wide_as_its_content(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("seconds", [("a", "1.00"), ("longer", "2")])
    print_table("empty", [])
    assert capsys.readouterr().out == "\nseconds\n  a       1.00\n  longer  2\n\nempty\n"


def test_artifacts_are_listed_with_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(
        '{"schema": 1, "artifacts": {"a": {"path": "x.efi", "size": 5, "sha256": "ab"},'
        ' "b": {"path": "x.qcow2", "size": 123456789, "sha256": "cd"}}}'
    )
    assert format_table(tmp_path / "build.json") == ["x.efi          5 B  ab", "x.qcow2   123.5 MB  cd"]


def test_what_the_first_boot_did_is_read_from_its_result() -> None:
    assert describe_provisioning('{"result": "ok", "actions": ["wrote /etc/motd", "created user core"]}') == [
        "wrote /etc/motd",
        "created user core",
    ]
    assert describe_provisioning('{"result": "ok"}') == []
