"""Units: files, drop-ins, masks, presets, and enabling without a running systemd."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from firstboot.apply.action import Machine
from firstboot.apply.units import PRESET, format_preset_lines
from firstboot.config.loaded import LoadedConfig
from firstboot.config.origins import ConfigError
from firstboot.engine.compile import load
from firstboot.engine.perform import carry_out
from firstboot.engine.plan import CONFIG_ONLY, WHOLE_MACHINE, Scope, plan
from firstboot.log import Log

pytestmark = pytest.mark.unit

SERVICE = "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"


def config(*units: dict[str, Any]) -> LoadedConfig:
    return load(json.dumps({"ignition": {"version": "3.6.0"}, "systemd": {"units": units}}), "x.ign")


def make(loaded: LoadedConfig, machine: Machine, scope: Scope = CONFIG_ONLY) -> None:
    carry_out(plan(loaded, machine, scope), loaded, machine, Log(io.StringIO()))


def test_units_and_dropins_are_written(tree: Path, machine: Machine) -> None:
    dropins = [
        {"name": "a.conf", "contents": "[Unit]\n"},
        {"name": "b.conf", "contents": ""},
        {"name": "c.conf"},
    ]
    make(config({"name": "a.service", "contents": SERVICE, "dropins": dropins}), machine)
    system = tree / "etc/systemd/system"
    assert (system / "a.service").read_text() == SERVICE
    assert {path.name: path.read_text() for path in (system / "a.service.d").iterdir()} == {
        "a.conf": "[Unit]\n",
        "b.conf": "",
    }


def test_empty_contents_write_nothing(tree: Path, machine: Machine) -> None:
    make(config({"name": "a.service", "contents": ""}), machine)
    assert list(tree.iterdir()) == []


def test_a_unit_replaces_a_link_or_a_directory(tree: Path, machine: Machine) -> None:
    system = tree / "etc/systemd/system"
    (system / "b.service").mkdir(parents=True)
    (system / "a.service").symlink_to("/usr/x")
    make(
        config({"name": "a.service", "contents": SERVICE}, {"name": "b.service", "contents": SERVICE}),
        machine,
    )
    assert [(system / name).read_text() for name in ("a.service", "b.service")] == [SERVICE, SERVICE]


def test_mask_replaces_what_is_there_and_unmask_only_a_mask(tree: Path, machine: Machine) -> None:
    system = tree / "etc/systemd/system"
    system.mkdir(parents=True)
    (system / "masked.service").symlink_to("/dev/null")
    (system / "other.service").symlink_to("/x")
    make(
        config(
            {"name": "a.service", "mask": True, "contents": SERVICE},
            {"name": "masked.service", "mask": False},
            {"name": "other.service", "mask": False},
        ),
        machine,
    )
    links = {path.name: str(path.readlink()) for path in system.iterdir()}
    assert links == {"a.service": "/dev/null", "other.service": "/x"}


def test_presets_are_sorted_and_instances_share_a_line() -> None:
    names = ["b.service", "echo@foo.service", "a.timer", "echo@bar.service", "echo@.service"]
    assert format_preset_lines(names) == ["enable a.timer", "enable b.service", "enable echo@.service foo bar"]


def test_what_is_enabled_becomes_a_preset(tree: Path, machine: Machine, programs: Any) -> None:
    programs.enabled.add("off.service")
    make(
        config(
            {"name": "b.service", "enabled": True},
            {"name": "a.service", "enabled": True},
            {"name": "off.service", "enabled": False},
            {"name": "already-off.service", "enabled": False},
        ),
        machine,
    )
    text = (tree / "etc/systemd/system-preset/20-ignition.preset").read_text()
    assert text == "enable a.service\nenable b.service\ndisable off.service\n"
    assert [each for each in programs.commands() if "is-enabled" not in each] == ["systemctl disable -- off.service"]


def test_a_preset_that_is_there_is_added_to(tree: Path, machine: Machine) -> None:
    preset = tree / "etc/systemd/system-preset/20-ignition.preset"
    preset.parent.mkdir(parents=True)
    preset.write_text("enable old.service\n")
    make(config({"name": "new.service", "enabled": True}), machine)
    assert preset.read_text() == "enable old.service\nenable new.service\n"


def test_on_a_whole_machine_units_are_enabled_at_once_and_together(tree: Path, machine: Machine, programs: Any) -> None:
    vendor = tree / "usr/lib/systemd/system"
    vendor.mkdir(parents=True)
    (vendor / "there.service").touch()
    (vendor / "echo@.service").touch()
    make(
        config(
            {"name": "a.service", "enabled": True, "contents": SERVICE},
            {"name": "there.service", "enabled": True},
            {"name": "echo@x.service", "enabled": True},
            {"name": "masked.service", "enabled": True, "mask": True},
        ),
        machine,
        WHOLE_MACHINE,
    )
    assert programs.commands() == ["systemctl enable -- a.service there.service echo@x.service"]
    assert f"--root={tree}" in programs.calls[0]


@pytest.fixture
def alias(tree: Path) -> Path:
    """``chronyd.service``, as an enabled chrony of Debian leaves it: ``Alias=`` of its unit."""
    vendor, own = tree / "usr/lib/systemd/system", tree / "etc/systemd/system"
    for directory in (vendor, own):
        directory.mkdir(parents=True)
    (vendor / "chrony.service").touch()
    alias = own / "chronyd.service"
    alias.symlink_to("/usr/lib/systemd/system/chrony.service")
    return alias


@pytest.mark.usefixtures("alias")
def test_what_is_enabled_by_another_name_is_enabled_by_its_own(tree: Path, machine: Machine, programs: Any) -> None:
    make(config({"name": "chronyd.service", "enabled": True}), machine, WHOLE_MACHINE)
    assert programs.commands() == ["systemctl enable -- chrony.service"]
    assert (tree / PRESET.lstrip("/")).read_text() == "enable chrony.service\n"


@pytest.mark.usefixtures("alias")
def test_what_is_disabled_by_another_name_is_disabled_by_its_own(machine: Machine, programs: Any) -> None:
    programs.enabled.add("chrony.service")
    make(config({"name": "chronyd.service", "enabled": False}), machine)
    assert programs.commands()[-1] == "systemctl disable -- chrony.service"


def test_what_is_masked_by_another_name_cannot_start_by_its_own(tree: Path, machine: Machine, alias: Path) -> None:
    make(config({"name": "chronyd.service", "mask": True}), machine)
    for link in (alias, tree / "etc/systemd/system/chrony.service"):
        assert str(link.readlink()) == "/dev/null"


def test_a_link_to_a_unit_elsewhere_and_a_unit_of_the_config_keep_their_names(
    tree: Path, machine: Machine, programs: Any, alias: Path
) -> None:
    (alias.parent / "linked.service").symlink_to("/opt/other.service")
    (tree / "opt").mkdir()
    (tree / "opt/other.service").touch()
    make(
        config(
            {"name": "linked.service", "enabled": True},
            {"name": "chronyd.service", "enabled": True, "contents": SERVICE},
        ),
        machine,
        WHOLE_MACHINE,
    )
    assert programs.commands() == ["systemctl enable -- linked.service chronyd.service"]


ABSENT = "systemd: {units: [{name: app.service, contents: '[Service]'}, {name: ap.service, enabled: true}]}\n"


def test_enabling_a_unit_that_is_nowhere_is_refused_in_our_own_language(machine: Machine) -> None:
    for text in (f"variant: buildos\nversion: 1.0.0\n{ABSENT}", ignition(ABSENT, "3.6.0+buildos")):
        with pytest.raises(ConfigError) as caught:
            plan(load(text, "m.yaml"), machine, WHOLE_MACHINE)
        assert "there is no unit 'ap.service' in the image" in str(caught.value)
        assert "did you mean 'app.service'?" in str(caught.value)


@pytest.mark.parametrize("variant", ["fcos", "flatcar", "ignition"])
def test_elsewhere_it_is_left_to_the_preset_and_told(tree: Path, machine: Machine, programs: Any, variant: str) -> None:
    version = {"fcos": "1.5.0", "flatcar": "1.1.0"}.get(variant)
    text = ignition(ABSENT, "3.4.0") if version is None else f"variant: {variant}\nversion: {version}\n{ABSENT}"
    make(load(text, "m.yaml"), machine, WHOLE_MACHINE)
    assert programs.commands() == []
    assert (tree / PRESET.lstrip("/")).read_text() == "enable ap.service\n"
    assert [each.problem.message for each in machine.warnings] == [
        "there is no unit 'ap.service' in the image, and the config gives it no contents"
    ]


def ignition(text: str, version: str) -> str:
    return json.dumps({"ignition": {"version": version}, **yaml.safe_load(text)})


@pytest.mark.parametrize(
    "storage",
    [
        {"files": [{"path": "/etc/systemd/system/a.service"}]},
        {"files": [{"path": "/usr/local/lib/systemd/system/a@.service"}]},
        {"links": [{"path": "/etc/systemd/system/a.service", "target": "/opt/a.service"}]},
    ],
)
def test_a_unit_whose_file_is_among_the_files_can_be_enabled(
    machine: Machine, programs: Any, storage: dict[str, Any]
) -> None:
    name = "a@x.service" if "@" in str(storage) else "a.service"
    text = json.dumps({"ignition": {"version": "3.6.0+buildos"}, "storage": storage, "systemd": {"units": [
        {"name": name, "enabled": True}
    ]}})  # fmt: skip
    plan(load(text, "m.ign"), machine, WHOLE_MACHINE)
    assert machine.warnings == []


def test_a_unit_that_podman_makes_is_not_enabled_and_not_refused(machine: Machine, programs: Any) -> None:
    storage = {"files": [{"path": "/etc/containers/systemd/web.container"}]}
    text = json.dumps({"ignition": {"version": "3.6.0+buildos"}, "storage": storage, "systemd": {"units": [
        {"name": "web.service", "enabled": True}
    ]}})  # fmt: skip
    make(load(text, "m.ign"), machine, WHOLE_MACHINE)
    assert "podman makes 'web.service' when the machine starts" in machine.warnings[0].problem.message
    assert programs.commands() == []


@pytest.mark.parametrize(
    "unit",
    [
        {"name": "../a.service", "contents": SERVICE},
        {"name": "a.service", "dropins": [{"name": "../../x.conf", "contents": ""}]},
    ],
)
def test_names_with_slashes_are_refused(machine: Machine, unit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="contains a '/'"):
        plan(config(unit), machine)


def test_the_machine_gets_an_id_of_its_own(tree: Path, machine: Machine) -> None:
    make(config(), machine, WHOLE_MACHINE)
    first = (tree / "etc/machine-id").read_text()
    assert len(first) == 33
    assert first[12] == "4"
    make(config(), machine, WHOLE_MACHINE)
    assert (tree / "etc/machine-id").read_text() == first
    (tree / "etc/machine-id").unlink()
    (tree / "etc/machine-id").write_text("uninitialized\n")
    make(config(), machine, WHOLE_MACHINE)
    assert (tree / "etc/machine-id").read_text() not in (first, "uninitialized\n")


def test_a_config_may_write_the_machine_id_itself(tree: Path, machine: Machine) -> None:
    files = [{"path": "/etc/machine-id", "contents": {"source": "data:,0123"}}]
    loaded = load(json.dumps({"ignition": {"version": "3.6.0"}, "storage": {"files": files}}), "x.ign")
    make(loaded, machine, WHOLE_MACHINE)
    assert (tree / "etc/machine-id").read_text() == "0123"
