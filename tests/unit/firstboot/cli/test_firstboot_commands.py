"""``python3 -m firstboot``: check, plan, apply, and the stages as Ignition has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from firstboot.__main__ import main
from firstboot.apply.action import Machine
from firstboot.apply.programs import Programs
from firstboot.apply.root import Root
from firstboot.cli import stage_state

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests start no program, and do not wait for the disks of the machine they run on."""
    for module in ("cli.directory", "cli.ignition"):
        monkeypatch.setattr(f"firstboot.{module}.sync", lambda _machine: None)


def config(path: Path, **sections: object) -> Path:
    path.write_text(json.dumps({"ignition": {"version": "3.6.0"}, **sections}))
    return path


def test_check_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = config(tmp_path / "good.ign", storage={"files": [{"path": "/a"}]})
    bad = config(tmp_path / "bad.ign", storage={"files": [{"path": "a"}]})
    warned = config(tmp_path / "warned.ign", bogus=1)
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["check", str(good), str(warned)]) == 0
    assert "warning: unknown setting" in capsys.readouterr().err
    assert main(["check", str(bad)]) == 2
    assert "bad.ign:1:" in capsys.readouterr().err


def test_plan_prints_and_writes_nothing(tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(
        tmp_path / "x.ign",
        storage={"files": [{"path": "/b/a", "mode": 384}], "directories": [{"path": "/b"}]},
    )
    assert main(["plan", "--root", str(tree), str(path)]) == 0
    assert capsys.readouterr().out == "make directory /b\nwrite file /b/a 0600 (0 bytes)\n"
    assert list(tree.iterdir()) == []


def test_apply_then_plan_says_nothing(tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path / "x.ign", storage={"files": [{"path": "/b/a"}]})
    assert main(["apply", "--root", str(tree), str(path)]) == 0
    assert (tree / "b/a").exists()
    capsys.readouterr()
    assert main(["plan", "--root", str(tree), str(path)]) == 0
    assert capsys.readouterr().out == "nothing\n"


def test_exit_codes_tell_a_wrong_config_from_a_failure(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path / "x.ign", storage={"files": [{"path": "/a", "contents": {"source": "data:,x"}}]})
    (tree / "a").touch()
    assert main(["apply", "--root", str(tree), str(path)]) == 2
    (tree / "a").unlink()

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    assert main(["apply", "--root", str(tree), str(path)]) == 1
    assert "cannot write file /a (1 bytes): /a: No space left on device" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "absent")]) == 1


class Ignition:
    """The command line of the original."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory
        self.root = root

    def stage(self, name: str) -> int:
        files = [f"-{option}={self.directory / option}" for option in ("config-cache", "state-file", "neednet")]
        words = ["-platform", "file", "-stage", name, "-root", str(self.root), "-log-to-stdout", *files]
        return main(words)


@pytest.fixture
def ignition(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Ignition:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IGNITION_CONFIG_FILE", raising=False)
    for variable in ("", "RUNTIME_", "LOCAL_"):
        directory = tmp_path / f"system-{variable}"
        monkeypatch.setenv(f"IGNITION_SYSTEM_{variable}CONFIG_DIR", str(directory))
    return Ignition(tmp_path, tree)


def test_fetch_caches_and_files_applies(ignition: Ignition, capsys: pytest.CaptureFixture[str]) -> None:
    config(ignition.directory / "config.ign", storage={"files": [{"path": "/a"}]})
    assert [ignition.stage(name) for name in ("fetch", "disks", "mount", "files", "umount")] == [0] * 5
    assert (ignition.root / "a").exists()
    cache = ignition.directory / "config-cache"
    assert json.loads(cache.read_text())["storage"] == {"files": [{"path": "/a"}]}
    assert "CRITICAL" not in capsys.readouterr().out


def test_the_cache_is_used_once_it_is_there(ignition: Ignition) -> None:
    config(ignition.directory / "config.ign", storage={"files": [{"path": "/a"}]})
    ignition.stage("fetch")
    (ignition.directory / "config.ign").write_text("{")
    assert ignition.stage("fetch") == 0


def test_kernel_arguments_are_the_helpers_of_whoever_calls(
    ignition: Ignition, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"shouldExist": ["a", "b"], "shouldNotExist": ["c"]}
    config(ignition.directory / "config.ign", kernelArguments=wanted)
    started: list[list[str]] = []
    monkeypatch.setattr(Programs, "run", lambda _self, argv: started.append(argv))
    assert ignition.stage("fetch") == 0
    assert ignition.stage("kargs") == 0
    words = ["--should-exist", "a", "--should-exist", "b", "--should-not-exist", "c"]
    assert started == [["ignition-kargs-helper", *words]]
    monkeypatch.undo()
    monkeypatch.setattr(Programs, "find", lambda _self, _name: None)
    assert ignition.stage("kargs") == 1
    assert "CRITICAL : stage kargs failed: the program ignition-kargs-helper is not" in capsys.readouterr().out


def test_base_configs_and_a_user_config_of_the_system_are_used(ignition: Ignition) -> None:
    lowest, highest = ignition.directory / "system-", ignition.directory / "system-RUNTIME_"
    for directory in (lowest, highest):
        (directory / "base.d").mkdir(parents=True)
    (lowest / "base.platform.d/file").mkdir(parents=True)
    config(lowest / "base.d/10.ign", storage={"files": [{"path": "/hidden"}]})
    config(highest / "base.d/10.ign", storage={"files": [{"path": "/base", "mode": 0o600}]})
    config(lowest / "base.platform.d/file/1.ign", storage={"files": [{"path": "/platform"}]})
    config(lowest / "user.ign", storage={"files": [{"path": "/base", "mode": 0o640}]})
    config(ignition.directory / "config.ign", storage={"files": [{"path": "/not-used"}]})
    assert [ignition.stage("fetch"), ignition.stage("files")] == [0, 0]
    assert sorted(path.name for path in ignition.root.iterdir()) == ["base", "platform"]
    assert (ignition.root / "base").stat().st_mode & 0o777 == 0o640


def test_no_config_at_all_is_an_empty_one(ignition: Ignition) -> None:
    assert [ignition.stage("fetch"), ignition.stage("files")] == [0, 0]
    assert list(ignition.root.iterdir()) == []


@pytest.mark.parametrize(
    ("sections", "needed"),
    [
        ({"storage": {"files": [{"path": "/a", "contents": {"source": "data:,a"}}]}}, False),
        ({"storage": {"files": [{"path": "/a", "contents": {"source": "http://one.example.org/"}}]}}, True),
        ({"ignition": {"version": "3.4.0", "config": {"merge": [{"source": "tftp://one.example.org/a"}]}}}, True),
    ],
)
def test_fetch_offline_says_whether_there_is_more_to_fetch(
    ignition: Ignition, sections: dict[str, Any], needed: bool
) -> None:
    config(ignition.directory / "config.ign", **sections)
    assert ignition.stage("fetch-offline") == 0
    assert (ignition.directory / "neednet").exists() == needed


def test_the_key_of_an_encrypted_device_is_kept_for_the_files_stage(ignition: Ignition) -> None:
    luks = [{"name": "data", "device": "/dev/x", "wipeVolume": True}]
    config(ignition.directory / "config.ign", storage={"luks": luks})
    assert ignition.stage("fetch") == 0
    with Root(ignition.root) as root:
        machine = Machine(root)
        machine.keys["data"] = b"\0key"
        machine.luks_uuids["data"] = "1234"
        (ignition.directory / "state-file").write_text(stage_state.dump(machine))
    assert ignition.stage("files") == 0
    assert (ignition.root / "etc/luks/data").read_bytes() == b"\0key"
    assert (ignition.root / "etc/crypttab").read_text() == "data UUID=1234 /etc/luks/data luks\n"


def test_a_root_that_is_not_of_our_image_may_have_another_boot_filesystem(ignition: Ignition) -> None:
    path = ignition.directory / "config.ign"
    config(path, storage={"filesystems": [{"device": "/dev/x", "format": "ext4", "path": "/boot"}]})
    assert main(["check", str(path)]) == 2
    assert ignition.stage("fetch") == 0


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_disks_are_refused_in_a_directory(
    tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "config.ign"
    config(path, storage={"filesystems": [{"device": "/dev/a", "format": "ext4", "path": "/var/a"}]})
    assert main([command, "--root", str(tree), str(path)]) == 2
    assert "storage.filesystems cannot be carried out in a directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["prepare", "run", "delete-config"])
def test_what_takes_no_arguments_has_a_help_nevertheless(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gc.disable", lambda: None)
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: firstboot {command}\n\n")
    assert main([command, "now"]) == 2
    assert capsys.readouterr().err == f"firstboot {command} takes no arguments\n"
