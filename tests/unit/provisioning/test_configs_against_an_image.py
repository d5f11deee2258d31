"""``config check --image`` and ``config plan``: what is found before any machine exists, at the user's own lines."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from tests.support.command import Outcome, run_command
from tests.support.logins import HASH, KEY
from tests.unit.provisioning.conftest import Build

pytestmark = pytest.mark.unit

HEAD = "variant: buildos\nversion: 1.0.0\n"


class Checked:
    """One run of ``config check --json --image``."""

    def __init__(self, image: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.image = image
        self.path = directory / "machine.yaml"
        self.capsys = capsys

    def run(self, command: str, text: str, *options: str, head: str = HEAD) -> Outcome:
        self.path.write_text(head + text)
        return run_command(self.capsys, "config", command, *options, "--image", str(self.image), str(self.path))

    def check(self, text: str, head: str = HEAD) -> list[dict[str, Any]]:
        _, out, _ = self.run("check", text, "--json", head=head)
        entries: list[dict[str, Any]] = json.loads(out)["entries"]
        return entries

    def messages(self, text: str, head: str = HEAD) -> list[str]:
        return [f"{each['line']} {each['kind']}: {each['message']}" for each in self.check(text, head)]


@pytest.fixture
def checked(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(build(), tmp_path, capsys)


def unit(name: str, text: str, **more: object) -> str:
    """A config with one unit; its text begins in line 7."""
    body = "".join(f"        {line}\n" for line in text.splitlines())
    extra = "".join(f"      {key}: {json.dumps(value)}\n" for key, value in more.items())
    return f"systemd:\n  units:\n    - name: {name}\n      contents: |\n{body}{extra}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("storage: {files: [{path: /usr/lib/x}]}\n", "read-only image", id="read-only"),
        pytest.param("storage: {files: [{path: /etc/motd, contents: {inline: x}}]}\n", "there already", id="there"),
        pytest.param("storage: {files: [{path: /etc/x, user: {name: wwv}}]}\n", "no user 'wwv'", id="user"),
        pytest.param("storage: {files: [{path: /etc/x, group: {name: wwv}}]}\n", "no group 'wwv'", id="group"),
        pytest.param("passwd: {users: [{name: core, groups: [wheel]}]}\n", "no group 'wheel'", id="users-group"),
        pytest.param("timezone: Europe/Berlim\n", "no time zone 'Europe/Berlim'", id="timezone"),
        pytest.param("systemd: {units: [{name: a.service, enabled: true}]}\n", "no unit 'a.service'", id="unit"),
        pytest.param(
            "storage: {disks: [{device: /dev/vdb, partitions: [{label: a}]}]}\n", "program sfdisk", id="program"
        ),
        pytest.param(
            "storage: {filesystems: [{device: /dev/vdb, format: ext4, path: /data}]}\n",
            "mount point /data is not in the image",
            id="mount-point",
        ),
    ],
)
def test_what_the_machine_would_refuse_is_an_error_at_its_line(checked: Checked, text: str, message: str) -> None:
    status, out, _ = checked.run("check", text, "--json")
    data = json.loads(out)
    assert (status, data["verdict"]) == (2, "error")
    found = [each for each in data["entries"] if each["kind"] == "error" and message in each["message"]]
    assert found, data["entries"]
    assert found[0]["line"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("storage: {files: [{path: /run/x}]}\n", "'/run/x' is in memory", id="memory"),
        pytest.param("storage: {files: [{path: /var/lib/dpkg/x}]}\n", "var-lib-dpkg.mount of the image", id="shadowed"),
        pytest.param("passwd: {users: [{name: core, shell: /bin/zsh}]}\n", "no '/bin/zsh'", id="shell"),
        pytest.param(
            "systemd: {units: [{name: web.service, enabled: true}]}\n", "podman makes 'web.service'", id="quadlet"
        ),
        pytest.param(
            "systemd: {units: [{name: timesink.service, dropins: [{name: a.conf, contents: '[Service]'}]}]}\n",
            "that the drop-ins could change",
            id="drop-in",
        ),
        pytest.param(
            "storage: {filesystems: [{device: /dev/disk/by-partlabel/daten, format: none}]}\n",
            "no partition 'daten'",
            id="device",
        ),
        pytest.param(
            "storage: {filesystems: [{device: /dev/disk/by-partlabel/state, format: none}]}\n",
            "'state' is the image's own",
            id="own-partition",
        ),
    ],
)
def test_what_would_be_done_and_not_work_is_a_warning_at_its_line(checked: Checked, text: str, message: str) -> None:
    status, out, _ = checked.run("check", text, "--json")
    data = json.loads(out)
    assert (status, data["verdict"]) == (0, "warn"), data
    assert [each["line"] for each in data["entries"] if message in each["message"]] == [3]
    assert checked.run("check", text, "--strict")[0] == 2


def test_units_that_are_absent_are_as_they_should_be_if_they_are_masked_or_disabled(checked: Checked) -> None:
    text = "systemd: {units: [{name: gone.service, mask: true}, {name: no.service, enabled: false}]}\n"
    assert checked.run("check", text, "--strict") == (0, f"{checked.path}: ok on small 1\n", ANY)


def test_a_unit_of_another_system_is_a_warning_in_a_config_for_that_system(checked: Checked) -> None:
    text = HEAD.replace("buildos", "flatcar") + "systemd: {units: [{name: docker.service, enabled: true}]}\n"
    checked.path.write_text(text)
    status, out, _ = run_command(
        checked.capsys, "config", "check", "--json", "--image", str(checked.image), str(checked.path)
    )
    assert (status, [each["kind"] for each in json.loads(out)["entries"]]) == (0, ["warning"])


def test_a_unit_from_a_tree_of_files_can_be_enabled(checked: Checked, tmp_path: Path) -> None:
    unit_file = tmp_path / "tree/etc/systemd/system/own.service"
    unit_file.parent.mkdir(parents=True)
    unit_file.write_text("[Service]\nExecStart=/usr/bin/cat\n[Install]\nWantedBy=multi-user.target\n")
    text = "storage: {trees: [{local: tree}]}\nsystemd: {units: [{name: own.service, enabled: true}]}\n"
    assert checked.run("check", text, "--files-dir", str(tmp_path)).status == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ExecStart=/usr/bin/nope -x", "ExecStart= starts /usr/bin/nope"),
        ("ExecStartPre=-nope", "ExecStartPre= starts nope"),
        ("User=app", "User=app, and there is no such user"),
        ("SupplementaryGroups=www app", "SupplementaryGroups=app, and there is no such group"),
        ("ExecStart=/usr/bin/python3 -I -m gunicorn.app", "Python module 'gunicorn'"),
    ],
)
def test_a_unit_is_pointed_at_in_the_line_of_the_unit_itself(checked: Checked, line: str, message: str) -> None:
    found = checked.check(unit("a.service", f"[Service]\nType=oneshot\n{line}\nExecStart=/usr/bin/cat"))
    assert [(each["line"], each["col"]) for each in found if message in each["message"]] == [(9, 9)]


def test_a_program_that_the_image_has_elsewhere_is_shown_there(checked: Checked) -> None:
    (found,) = checked.check(unit("a.service", "[Service]\nType=oneshot\nExecStart=/usr/sbin/cat"))
    assert found["hint"] == "the image has /usr/bin/cat"


@pytest.mark.parametrize(
    ("where", "message", "hint"),
    [
        ("/home/a-b", "leads over a link to /var/home/a-b", r"name the unit var-home-a\x2db.mount, with Where="),
        ("/data", "is not in the image, which is read-only", "mount it below /var, or put the directory into"),
        ("/var/data", None, ""),
        ("/run/data", None, ""),
        ("/usr/lib", None, ""),
    ],
)
def test_a_mount_unit_that_cannot_mount_is_told(checked: Checked, where: str, message: str | None, hint: str) -> None:
    name = "-".join(part.replace("-", r"\x2d") for part in where[1:].split("/"))
    found = checked.check(unit(f"{name}.mount", f"[Mount]\nWhat=/dev/vdb\nWhere={where}"))
    if message is None:
        assert found == []
        return
    (told,) = found
    assert told["line"] == 9
    assert message in told["message"]
    assert told["hint"].startswith(hint)


def test_units_that_are_there_or_are_made_are_not_complained_about(checked: Checked) -> None:
    needs = "Requires=timesync.service web.service getty@tty1.service dev-vda.device a-b.mount\nWants=gone.service"
    text = unit("a.service", f"[Unit]\n{needs}\n[Service]\nExecStart=/usr/bin/cat\nUser=www\nGroup=systemd-journal")
    assert checked.messages(text) == ["9 warning: a.service: Wants=gone.service, and there is no such unit"]


def test_what_the_config_itself_brings_is_there(checked: Checked) -> None:
    text = "passwd: {users: [{name: app, shell: /usr/local/bin/sh}]}\n"
    text += "storage: {files: [{path: /usr/local/bin/sh, mode: 0755}, {path: /usr/local/bin/run, mode: 0755}]}\n"
    text += unit("a.service", "[Service]\nExecStart=/usr/local/bin/run\nUser=app\nGroup=app")
    assert checked.messages(text) == []


@pytest.mark.parametrize(
    ("listen", "whose"),
    [
        ("ListenStream=9100", "metrics.socket of the image"),
        ("ListenStream=0.0.0.0:8080", "web.container of the image"),
        ("ListenStream=127.0.0.1:8080", "web.container of the image"),
        ("ListenStream=192.0.2.1:8080", None),
        ("ListenDatagram=9100", None),
        ("ListenStream=9200", None),
        ("ListenStream=/run/x.sock", None),
    ],
)
def test_a_port_that_is_taken_is_told(checked: Checked, listen: str, whose: str | None) -> None:
    text = unit("a.socket", f"[Socket]\n{listen}\n[Install]\nWantedBy=sockets.target", enabled=True)
    found = [each for each in checked.messages(text) if "port" in each]
    assert [whose in each for each in found if whose is not None] == ([True] if whose else [])
    assert len(found) == (whose is not None)


def test_two_units_of_a_config_cannot_have_one_port(checked: Checked) -> None:
    units = [f"{{name: {name}.socket, enabled: true, contents: '[Socket]\n\n\nListenStream=99'}}" for name in "ab"]
    found = checked.messages(f"systemd: {{units: [{', '.join(units)}]}}\n")
    assert [each for each in found if "a.socket of this config" in each]


def test_a_port_is_free_once_the_image_s_unit_is_masked(checked: Checked) -> None:
    text = unit("a.socket", "[Socket]\nListenStream=9100", enabled=True)
    masked = text + "    - name: metrics.socket\n      mask: true\n"
    assert any("9100" in each for each in checked.messages(text))
    assert not any("9100" in each for each in checked.messages(masked))


def test_imports_of_scripts_are_looked_for_in_the_image(checked: Checked) -> None:
    script = ["#!/usr/bin/env python3", "import os, sys", "import yaml", "from numpy import array", "import helper"]
    script.append("import flask")  # of an environment of wheels
    body = "".join(f"          {line}\n" for line in script)
    text = f"storage:\n  files:\n    - path: /var/lib/run\n      contents:\n        inline: |\n{body}"
    text += "    - path: /var/lib/helper.py\n"
    found = checked.messages(text)
    assert found == ["11 warning: /var/lib/run: imports the Python module 'numpy', which is not in the image"]


def test_modules_in_a_wheel_of_the_config_and_in_the_working_directory_are_there(checked: Checked) -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("app/__init__.py", "")
    source = "data:;base64," + base64.b64encode(wheel.getvalue()).decode()
    files = (
        f'storage: {{files: [{{path: /var/lib/a.whl, contents: {{source: "{source}"}}}}, {{path: /var/lib/w/b.py}}]}}\n'
    )
    text = "[Service]\nEnvironment=PYTHONPATH=%s\nWorkingDirectory=/var/lib/w\n"
    text += (
        "ExecStartPre=/usr/bin/python3 -m app\nExecStartPre=/usr/bin/python3 -m b\nExecStart=/usr/bin/python3 -m c\n"
    )
    found = checked.messages(files + unit("a.service", text % "/var/lib/a.whl"))
    assert [each.partition("module ")[2] for each in found] == ["'c', which is not in the image"]
    assert checked.messages(files + unit("a.service", text % "/var/lib/unknown")) == []


def test_a_line_of_a_script_that_may_hold_a_secret_is_not_drawn(checked: Checked) -> None:
    body = "          #!/usr/bin/python3\n          import numpy; KEY = 'sesame'\n"
    text = f"storage:\n  files:\n    - path: /var/lib/run\n      contents:\n        inline: |\n{body}"
    _, out, err = checked.run("check", text)
    assert "numpy" in err
    assert "sesame" not in out + err


def test_a_filesystem_that_nothing_mounts_later_is_told(checked: Checked) -> None:
    text = (
        "storage:\n  files: [{path: /var/lib/data/x}]\n  filesystems:\n"
        "    - {device: /dev/vdb, format: none, path: /var/lib/data%s}\n"
    )
    assert [each for each in checked.messages(text % "") if "nothing mounts /var/lib/data" in each]
    mounted = checked.messages(text % ", with_mount_unit: true")
    assert not [each for each in mounted if "nothing mounts" in each or "will not be seen" in each]


def test_base_configs_of_the_image_are_merged_first(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = HEAD + "passwd: {groups: [{name: wheel}]}\n"
    image = build(**{"/usr/lib/firstboot/base.d/10-image.yaml": base})
    checked = Checked(image, tmp_path, capsys)
    assert checked.check("passwd: {users: [{name: core, groups: [wheel]}]}\n") == []
    status, out, _ = checked.run("plan", "hostname: a\n")
    assert status == 0
    assert "create group wheel" in out
    assert "10-image.yaml:3" in out


def test_without_the_tools_it_says_that_systemd_was_not_asked(checked: Checked) -> None:
    text = unit("a.service", "[Service]\nExecStart=/usr/bin/cat")
    _, out, _ = checked.run("check", text, "--json")
    assert ["not checked by systemd itself" in each for each in json.loads(out)["notes"]] == [True]


# --- plan ---


CONFIG = """\
hostname: web-1
passwd: {users: [{name: core}]}
storage:
  files:
    - path: /var/lib/data
      contents: {source: "https://example.org/data?token=sesame"}
systemd:
  units:
    - name: fetched.service
      enabled: true
      contents: "[Service]\\nExecStart=/usr/bin/cat\\n[Install]\\nWantedBy=multi-user.target\\n"
"""


def test_a_plan_is_in_the_order_of_the_first_boot_and_names_lines(checked: Checked) -> None:
    status, out, _ = checked.run("plan", CONFIG, "--json")
    steps = json.loads(out)["steps"]
    assert status == 0
    assert [(each["stage"], each["what"], each["line"]) for each in steps] == [
        ("fetch", "fetch https://example.org/data?...", 8),
        ("machine", "write /etc/machine-id", None),
        ("users", "create user core", 4),
        ("files", "write file /etc/hostname 0644 (6 bytes)", 3),
        ("files", "write file /var/lib/data (fetched)", 7),
        ("units", "write unit fetched.service", 13),
        ("units", "write preset: enable fetched.service", 11),
        ("units", "enable fetched.service", 11),
    ]


def test_a_plan_for_people_says_the_same_without_secrets(checked: Checked) -> None:
    _, out, err = checked.run("plan", CONFIG)
    assert "└─ units" in out
    assert "write file /etc/hostname 0644 (6 bytes)" in out
    assert "sesame" not in out + err


def test_kernel_arguments_come_before_disks_and_with_a_restart(checked: Checked) -> None:
    text = "kernel_arguments: {should_exist: [quiet, mitigations=off]}\nhostname: a\n"
    _, out, _ = checked.run("plan", text, "--json")
    data = json.loads(out)
    assert data["steps"][0]["what"] == "set kernel arguments: mitigations=off, and start again"
    assert ["UEFI" in each for each in data["notes"]] == [True]


def test_a_kernel_argument_of_the_image_cannot_be_taken_away(checked: Checked) -> None:
    assert checked.messages("kernel_arguments: {should_not_exist: [quiet]}\n") == [
        "3 error: 'quiet' is inside the verified kernel image and cannot be taken away"
    ]


def test_a_config_that_would_be_refused_has_no_plan(checked: Checked) -> None:
    status, out, err = checked.run("plan", "storage: {files: [{path: /usr/x}]}\n")
    assert (status, out) == (2, "")
    assert "read-only image" in err
    assert "nothing would be done" in err


ARCHIVE = """\
storage:
  archives:
    - path: %s
      source: https://example.org/a.tar.gz?token=sesame
      verification: {hash: sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}
systemd: {units: [{name: timesync.service, enabled: true}]}
"""


def test_an_archive_is_planned_after_files_and_told_to_be_unread(checked: Checked) -> None:
    status, out, err = checked.run("plan", ARCHIVE % "/var/lib/app", "--json")
    data = json.loads(out)
    assert status == 0
    assert [each["stage"] for each in data["steps"]] == ["fetch", "machine", "files", "units", "units"]
    assert data["steps"][2]["what"] == "unpack https://example.org/a.tar.gz?... into /var/lib/app"
    assert ["what is in it is not checked" in each for each in data["notes"]] == [True]
    assert "sesame" not in out + err


def test_an_archive_cannot_be_unpacked_into_the_image(checked: Checked) -> None:
    assert any("read-only image" in each for each in checked.messages(ARCHIVE % "/usr/lib/app"))


TRUNCATED = KEY[:-3]
USER = "passwd: {users: [{name: core, %s}]}\n"
OF_OTHERS = ["variant: fcos\nversion: 1.5.0\n", "variant: flatcar\nversion: 1.0.0\n"]


@pytest.mark.parametrize("head", OF_OTHERS)
def test_logins_that_other_systems_take_as_they_are_get_a_warning(checked: Checked, head: str) -> None:
    config = USER % f"password_hash: hunter2, ssh_authorized_keys: [{TRUNCATED}]"
    assert checked.messages(config, head) == [
        "3 warning: this key is not whole",
        "3 warning: this is no hash of a password, so nobody could log in with it",
    ]
    said = checked.run("check", config, head=head)
    assert said.status == 0
    assert "hunter2" not in said.out + said.err
    assert checked.messages(USER % f"password_hash: {HASH}, ssh_authorized_keys: [{KEY}]", head) == []


@pytest.mark.parametrize("login", ["password_hash: hunter2", f"ssh_authorized_keys: [{TRUNCATED}]"])
def test_a_login_that_lets_nobody_in_is_an_error_in_a_config_of_ours(checked: Checked, login: str) -> None:
    said = checked.run("check", USER % login)
    assert said.status != 0
    assert "hunter2" not in said.out + said.err


def test_a_unit_that_replaces_a_container_of_the_image_is_told(checked: Checked) -> None:
    said = checked.messages(unit("web.service", "[Service]\nType=oneshot\n"))
    quadlet = "/usr/share/containers/systemd/web.container"
    assert f"5 warning: 'web.service' replaces what podman makes of the image's {quadlet}" in said
    assert not any("replaces" in line for line in checked.messages(unit("other.service", "[Service]\nType=oneshot\n")))


APPS = json.dumps(
    {
        "shop": {"environment": ["GREETING"], "settings": {"page": {"size": 20}}, "secrets": ["database"]},
        "plain": {"environment": [], "settings": None, "secrets": []},
    }
)


def test_what_no_app_of_the_image_would_see_is_named(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = Checked(build(**{"/usr/lib/build-os/apps.json": APPS}), tmp_path, capsys)
    text = (
        "secrets: [{name: db, credential: any.db}]\n"
        "apps:\n"
        "  - name: shop\n"
        "    environment: {GREETINGS: x}\n"
        "    settings: 'page.sise = 1'\n"
        "    secrets: {databse: db}\n"
        "  - {name: plain, settings: 'a = 1'}\n"
        "  - {name: shp, environment: {A: b}}\n"
    )
    assert {*checked.messages(text)} == {
        "6 warning: the app 'shop' of the image knows no variable 'GREETINGS'",
        "7 warning: the app 'shop' of the image has no setting 'page.sise'",
        "9 warning: the app 'plain' of the image has no settings",
        "10 warning: the image has no app 'shp'",
        "8 warning: the app 'shop' asks for no secret 'databse'",
        "1 warning: the app 'shop' does not start without its secret 'database'",
    }


@pytest.mark.parametrize("how", ["apps: [{name: shop, secrets: {database: shop.database}}]\n", ""])
def test_a_secret_that_an_app_needs_is_not_missed_when_it_is_given(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    checked = Checked(build(**{"/usr/lib/build-os/apps.json": APPS}), tmp_path, capsys)
    (tmp_path / "db").write_text("x")
    text = f"secrets: [{{name: shop.database}}]\n{how}"
    _, out, _ = checked.run("check", text, "--json", "--secret", f"shop.database={tmp_path / 'db'}")
    assert json.loads(out)["entries"] == []
    assert checked.messages("hostname: a\n") == [
        "1 warning: the app 'shop' does not start without its secret 'database'"
    ]
