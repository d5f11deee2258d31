"""``build-os dev``: which changes of a definition a running machine is given, and what it does with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from builder.build import put_live
from builder.build.live import (
    Changes,
    Live,
    Put,
    decide_changes,
    decode_outcome,
    describe_live,
    encode_changes,
)
from builder.definition.load import load
from builder.tree.node import Node, make_file, make_symlink

pytestmark = pytest.mark.unit

UNIT = "/usr/lib/systemd/system/app.service"
OURS = "/run/systemd/system/app.service"


def text(content: str) -> Node:
    return make_file(content, origin="test")


def live(files: Mapping[str, str], **presets: str) -> Live:
    named = {unit.replace("_", "."): verb for unit, verb in presets.items()}
    return Live({path: text(content) for path, content in files.items()}, named, {}, {"packages[0]": "bash"})


def change(before: Mapping[str, str], now: Mapping[str, str], presets: Mapping[str, str] | None = None) -> Changes:
    return decide_changes(live(before, **(presets or {})), live(now, **(presets or {})))


def places(changes: Changes) -> list[str]:
    return [put.path for put in changes.files]


def test_nothing_is_done_where_nothing_has_changed() -> None:
    changes = change({UNIT: "x", "/etc/motd": "y"}, {UNIT: "x", "/etc/motd": "y"})
    assert changes == Changes()
    assert changes.is_empty


def test_a_changed_unit_is_put_where_systemd_looks_first_and_started_again() -> None:
    changes = change({UNIT: "old"}, {UNIT: "new"})
    assert places(changes) == [OURS]
    assert changes.commands == (("systemctl", "daemon-reload"), ("systemctl", "try-restart", "app.service"))
    assert changes.reboot == ()


def test_a_drop_in_starts_its_unit_again_and_a_template_all_its_instances() -> None:
    changes = change({}, {f"{UNIT}.d/10.conf": "[Service]", "/usr/lib/systemd/system/at@.service.d/1.conf": ""})
    assert changes.commands[1:] == (
        ("systemctl", "try-restart", "app.service"),
        ("systemctl", "try-restart", "at@*.service"),
    )


def test_a_target_is_read_again_and_nothing_is_started() -> None:
    assert change({"/usr/lib/systemd/system/a.target": "1"}, {"/usr/lib/systemd/system/a.target": "2"}).commands == (
        ("systemctl", "daemon-reload"),
    )


def test_a_new_unit_starts_if_its_preset_says_so() -> None:
    assert change({}, {UNIT: "x"}, {"app_service": "enable"}).commands[1:] == (
        ("systemctl", "enable", "--now", "app.service"),
    )
    assert change({}, {UNIT: "x"}).commands == (("systemctl", "daemon-reload"),)


def test_a_unit_that_is_gone_is_stopped_and_covered() -> None:
    changes = change({UNIT: "x"}, {})
    assert changes.first == (("systemctl", "disable", "--now", "app.service"),)
    assert places(changes) == [OURS]
    (row,) = json.loads(encode_changes(changes))["files"]
    assert (row["what"], row["target"]) == ("link", "/dev/null")


def test_a_unit_that_goes_or_comes_with_its_drop_in_is_stopped_or_enabled() -> None:
    both = {UNIT: "x", f"{UNIT}.d/10.conf": "[Service]"}
    gone = change(both, {}, {"app_service": "enable"})
    assert gone.first == (("systemctl", "disable", "--now", "app.service"),)
    assert gone.commands == (("systemctl", "daemon-reload"),)
    come = change({}, both, {"app_service": "enable"})
    assert come.commands[1:] == (("systemctl", "enable", "--now", "app.service"),)


@pytest.mark.parametrize(
    ("path", "service"),
    [("/usr/share/containers/systemd/web.container", "web.service"), (UNIT, "app.service")],
)
def test_a_drop_in_that_goes_alone_starts_its_unit_again(path: str, service: str) -> None:
    changes = change({path: "x", f"{path}.d/10.conf": "y"}, {path: "x"})
    assert changes.first == ()
    assert changes.commands[1:] == (("systemctl", "try-restart", service),)


def test_a_unit_that_moves_between_usr_and_etc_is_started_again() -> None:
    elsewhere = "/etc/systemd/system/app.service"
    for before, now in ((UNIT, elsewhere), (elsewhere, UNIT)):
        changes = change({before: "x"}, {now: "x"}, {"app_service": "enable"})
        assert changes.first == ()
        assert changes.commands[1:] == (("systemctl", "try-restart", "app.service"),)


def test_presets_that_change_enable_disable_and_mask() -> None:
    before = live({UNIT: "x"}, app_service="enable", old_timer="enable", odd_service="mask")
    now = live({UNIT: "x"}, app_service="disable", new_timer="enable", bad_service="mask")
    assert decide_changes(before, now).commands == (
        ("systemctl", "disable", "--now", "app.service"),
        ("systemctl", "mask", "--now", "bad.service"),
        ("systemctl", "unmask", "odd.service"),
        ("systemctl", "disable", "--now", "old.timer"),
        ("systemctl", "enable", "--now", "new.timer"),
    )


@pytest.mark.parametrize(
    ("path", "place", "command"),
    [
        ("/usr/lib/sysctl.d/a.conf", "/run/sysctl.d/a.conf", ("/usr/lib/systemd/systemd-sysctl",)),
        ("/usr/lib/systemd/network/a.network", "/run/systemd/network/a.network", ("networkctl", "reload")),
        ("/usr/lib/tmpfiles.d/a.conf", "/run/tmpfiles.d/a.conf", ("systemd-tmpfiles", "--create")),
        ("/usr/lib/udev/rules.d/9.rules", "/run/udev/rules.d/9.rules", ("udevadm", "control", "--reload")),
        ("/etc/sysctl.d/a.conf", "/etc/sysctl.d/a.conf", ("/usr/lib/systemd/systemd-sysctl",)),
        ("/etc/motd", "/etc/motd", None),
    ],
)
def test_settings_are_read_by_who_reads_them(path: str, place: str, command: tuple[str, ...] | None) -> None:
    changes = change({}, {path: "x"})
    assert places(changes) == [place]
    assert changes.commands == (() if command is None else (command,))


@pytest.mark.parametrize(
    ("path", "remains"),
    [
        ("/etc/sysctl.d/a.conf", ("/etc/sysctl.d/a.conf",)),
        ("/usr/lib/tmpfiles.d/a.conf", ("/run/tmpfiles.d/a.conf",)),
        ("/usr/lib/udev/rules.d/9.rules", ("/run/udev/rules.d/9.rules",)),
        ("/etc/systemd/network/a.network", ()),
        ("/etc/motd", ()),
    ],
)
def test_what_settings_have_set_remains_when_they_are_taken_away(path: str, remains: tuple[str, ...]) -> None:
    assert change({path: "x"}, {}).remains == remains
    assert change({path: "x"}, {path: "y"}).remains == ()


def test_a_quadlet_starts_its_service_again() -> None:
    quadlet = "/usr/share/containers/systemd/web.container"
    changes = change({quadlet: "1"}, {quadlet: "2"})
    assert places(changes) == ["/run/containers/systemd/web.container"]
    assert changes.commands[1:] == (("systemctl", "try-restart", "web.service"),)


@pytest.mark.parametrize("path", ["/usr/bin/tool", "/var/lib/x", "/usr/lib/systemd/system-preset/1.preset", "/opt/x"])
def test_what_lies_in_the_verified_image_needs_another_one(path: str) -> None:
    changes = change({}, {path: "x"})
    assert changes.files == ()
    assert changes.reboot == (f"{path} is of the verified image",)


def test_other_packages_need_another_image_and_each_setting_is_named_once() -> None:
    before = live({})
    now = replace(before, rest={"packages[0]": "dash", "packages[1]": "zsh", "kernel_package": "x"})
    assert decide_changes(before, now).reboot == ("kernel_package changed", "packages changed")


def test_an_apps_own_files_are_sent_and_another_app_needs_an_image() -> None:
    before = replace(live({}), apps={"shop": "1", "worker": "1"})
    changes = decide_changes(before, replace(before, apps={"shop": "2", "worker": "1"}))
    assert changes.apps == ("shop",)
    assert changes.reboot == ()
    assert decide_changes(before, replace(before, apps={"shop": "1"})).reboot == ("there are other apps",)


def test_a_definition_is_described_by_its_files_presets_and_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "os.yaml": 'name: app\nversion: "1"\noverlays: [mine]\nunits: [mine]\nvariables: {word: hi}\n'
        "presets: {enable: [a.service]}\n",
        "overlays/mine/etc/motd.j2": "{{ variables.word }}\n",
        "units/mine/a.service": "[Service]\nExecStart=/bin/true\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    before = describe_live(load(Path("os.yaml")).resolved)
    assert before.files["/etc/motd"].content.read() == b"hi\n"
    assert "/usr/lib/systemd/system/a.service" in before.files
    assert before.presets["a.service"] == "enable"
    (tmp_path / "overlays/mine/etc/motd.j2").write_text("{{ variables.word }}!\n")
    assert places(decide_changes(before, describe_live(load(Path("os.yaml")).resolved))) == ["/etc/motd"]
    (tmp_path / "os.yaml").write_text((tmp_path / "os.yaml").read_text() + "packages: [htop]\n")
    assert decide_changes(before, describe_live(load(Path("os.yaml")).resolved)).reboot == ("packages changed",)


# --- on the machine --------------------------------------------------------------------------------


def carry_out(changes: Changes, root: Path) -> list[str]:
    return list(decode_outcome(put_live.main(encode_changes(changes).decode(), str(root))).kept)


def test_files_are_put_with_their_mode_and_links_as_links(tmp_path: Path) -> None:
    script = make_file("#!/bin/sh\n", 0o755, origin="test")
    files = (
        Put("/etc/new/script", script, None, "/etc/new/script"),
        Put("/etc/link", make_symlink("new/script", origin="test"), None, "/etc/link"),
        Put("/run/systemd/system/gone.service", None, None, "/usr/lib/systemd/system/gone.service"),
    )
    assert carry_out(Changes(files=files), tmp_path) == []
    assert (tmp_path / "etc/new/script").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "etc/new/script").stat().st_mode & 0o7777 == 0o755
    assert str((tmp_path / "etc/link").readlink()) == "new/script"
    assert str((tmp_path / "run/systemd/system/gone.service").readlink()) == "/dev/null"
    assert sorted(path.name for path in tmp_path.rglob("*.build-os-new")) == []


def test_what_the_machine_has_changed_itself_stays(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    motd = tmp_path / "etc/motd"
    changes = decide_changes(live({"/etc/motd": "image"}), live({"/etc/motd": "new"}))
    motd.write_text("the machine's own")
    assert carry_out(changes, tmp_path) == ["/etc/motd"]
    assert motd.read_text() == "the machine's own"
    motd.write_text("image")
    assert carry_out(changes, tmp_path) == []
    assert motd.read_text() == "new"
    assert carry_out(changes, tmp_path) == []  # once more: it is there already
    gone = decide_changes(live({"/etc/motd": "new"}), live({}))
    assert carry_out(gone, tmp_path) == []
    assert not motd.exists()


def test_a_command_that_fails_is_told_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"first": (1, "not loaded"), "bad": (3, "it broke"), "good": (0, "")}
    called: list[str] = []

    def call(command: list[str]) -> tuple[int, str]:
        called.append(command[0])
        return answers[command[0]]

    monkeypatch.setattr(put_live, "call", call)
    changes = Changes(first=(("first",),), commands=(("bad", "x"), ("good",)))
    assert decode_outcome(put_live.main(encode_changes(changes).decode())).failed == ((("bad", "x"), "it broke"),)
    assert called == ["first", "bad", "good"]
