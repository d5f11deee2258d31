"""``config check --image``: what a config writes for programs that the image does not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.tree.tree import Tree
from tests.support.command import run_command
from tests.unit.provisioning.conftest import Build

pytestmark = pytest.mark.unit

CONFIG = """\
variant: buildos
version: 1.0.0
passwd:
  users:
    - name: core
      sudo: true
      ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc a]
containers:
  - name: shop
    image: registry.example/shop:1
storage:
  files:
    - path: /etc/cron.d/nightly
      contents: {inline: "0 3 * * * root /usr/bin/true\\n"}
"""
PODMAN = "/usr/lib/systemd/system-generators/podman-system-generator"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.yaml"
    path.write_text(CONFIG)
    return path


def warnings(image: Path, machine: Path, capsys: pytest.CaptureFixture[str]) -> dict[int, str]:
    """Warnings about what is missing, by line."""
    _, out, _ = run_command(capsys, "config", "check", "--json", "--image", str(image), str(machine))
    entries = json.loads(out)["entries"]
    return {each["line"]: each["message"] for each in entries if "not in the image" in each["message"]}


def test_what_nobody_would_read_is_a_warning_where_it_is_written(
    image_tree: Tree, build: Build, machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (PODMAN, "/usr/sbin/sshd"):
        image_tree.remove(path)
    found = warnings(build(), machine, capsys)
    assert {line: text.rpartition(": ")[2] for line, text in found.items()} == {
        6: "nobody becomes root by it, for sudo is not in the image",
        7: "sshd is not in the image",
        9: "nobody makes a unit of it, for podman-system-generator is not in the image",
        13: "nobody reads it, for cron is not in the image",
    }


def test_an_image_that_has_them_gets_no_warning(
    build: Build, machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = build(**{"/usr/bin/sudo": "", "/usr/sbin/cron": ""})
    assert warnings(image, machine, capsys) == {}


FILES = {
    "/etc/systemd/zram-generator.conf": "zram-generator",
    "/etc/zincati/config.d/55-updates-strategy.toml": "zincati",
    "/etc/flatcar/update.conf": "update_engine",
    "/etc/os-update.json": "os-update",
    "/etc/NetworkManager/conf.d/x.conf": "NetworkManager",
    "/etc/docker/daemon.json": "dockerd",
    "/etc/chrony.conf": "chronyd",
    "/etc/rpm-ostreed.conf": "rpm-ostree",
    "/etc/default/nothing-like-it": "nothing-like-it",
}
READ = ("/etc/default/locale", "/etc/default/app", "/etc/default/timesync", "/etc/default/cat", "/etc/dockers/x")


def test_files_of_other_systems_are_told_at_their_lines(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = build()
    text = "variant: fcos\nversion: 1.5.0\nsystemd: {units: [{name: a.service, contents: '"
    text += (
        "[Service]\n\n      EnvironmentFile=-/etc/default/app\n\n      ExecStart=/usr/bin/cat'}]}\nstorage:\n  files:\n"
    )
    first = text.count("\n") + 1
    machine = tmp_path / "machine.bu"
    machine.write_text(text + "".join(f"    - path: {path}\n" for path in (*FILES, *READ)))
    found = warnings(image, machine, capsys)
    assert {
        line - first: name for line, text in found.items() for name in FILES.values() if f"for {name} is" in text
    } == dict(enumerate(FILES.values()))
    assert len(found) == len(FILES)


UPDATES = """\
variant: buildos
version: 1.0.0
updates:
  window: {begin: "02:00", end: "04:00", timezone: Mars/Olympus}
"""


def test_updates_that_the_image_cannot_take_are_a_warning(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "machine.yaml"
    machine.write_text(UPDATES)

    def check(**files: str) -> list[str]:
        _, out, _ = run_command(capsys, "config", "check", "--json", "--image", str(build(**files)), str(machine))
        return [f"{each['line']}: {each['message']}" for each in json.loads(out)["entries"]]

    assert check() == ["4: /etc/os-update.json: nobody reads it, for os-update is not in the image"]
    assert check(**{"/usr/bin/os-update": ""}) == [
        "4: this machine takes no version by itself, for the image does not say who may publish",
        "4: the image has no time zone 'Mars/Olympus', and the machine never reboots by itself",
    ]
    root, zone = "/usr/share/build-os/updates/root.json", "/usr/share/zoneinfo/Mars/Olympus"
    assert check(**{"/usr/bin/os-update": "", root: "", zone: ""}) == []
