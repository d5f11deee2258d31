"""One machine and four versions: it takes them one after the other, and goes back from those that are not well."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import booted, build_text
from tests.support.payloads import make_carrier, write_payload
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = Path(__file__).parents[2] / "out" / "updates"
DEFINITION = """\
name: updated
version: "{version}"
features: [base, updates]
overlays: [sick]
units: [sick]
outputs: [raw]
disk: {{size: 3G, esp: 260M, slot: 600M}}
# On a busy host devices and services take longer than 90 seconds, and a version must not fail for that.
kernel: {{command_line: [systemd.default_device_timeout_sec=600, systemd.default_timeout_start_sec=600]}}
updates:
  tries: 1
  boot_minutes: 20
  health: [healthy.service]
"""
# All versions have it, so that they differ in nothing but their number.
HEALTHY = """\
[Unit]
Description=Well, Unless This Is Version 3

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sh /usr/lib/healthy
"""
SICK = """\
. /usr/lib/os-release
test "$IMAGE_VERSION" != 3 && exit
echo "the third version is sick"
exit 1
"""


def build_version(version: str, store: Store) -> Path:
    out = OUT / version
    for path, text in {"units/sick/healthy.service": HEALTHY, "overlays/sick/usr/lib/healthy": SICK}.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    return build_text(DEFINITION.format(version=version), out, store)


def unchanged(parts: dict[str, bytes]) -> dict[str, bytes]:
    return parts


def damage(parts: dict[str, bytes]) -> dict[str, bytes]:
    """One byte in each block of the root that dm-verity looks at, but for the first: it mounts, and then panics."""
    root = bytearray(parts["root"])
    for offset in range(4096, len(root), 4096):
        root[offset] ^= 1
    return {**parts, "root": bytes(root)}


VERSIONS = {"2": unchanged, "3": unchanged, "4": damage}


@pytest.fixture(scope="module")
def manifests(store: Store) -> dict[str, Path]:
    return {version: build_version(version, store) for version in "1234"}


@pytest.fixture(scope="module")
def carrier(manifests: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with versions 2 to 4."""
    room = tmp_path_factory.mktemp("carrier")
    for name, change in VERSIONS.items():
        write_payload(manifests[name[0]], room / "versions" / name, change)
    tools = Tools(read_image(manifests["1"]).tools, QuietConsole())
    return make_carrier(tools, room / "versions", room / "carrier.erofs")


@pytest.fixture(scope="module")
def machine(
    manifests: dict[str, Path], carrier: Path, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine") / "machine"
    with booted(manifests["1"], folder, store, media=[carrier], net="none", memory=768, seconds=900) as machine:
        machine.succeed("mkdir", "/run/versions")
        machine.succeed("/bin/sh", "-c", "mount -t erofs -o ro /dev/vdb /run/versions")
        yield machine


def status(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.succeed("os-update", "status", "--json"))
    return found


def mount(machine: Machine) -> None:
    machine.succeed("/bin/sh", "-c", "mkdir -p /run/versions && mount -t erofs -o ro /dev/vdb /run/versions")


def expect_the_worst(machine: Machine) -> None:
    """Units that fail, and panics, are what the next version was made for."""
    machine.start_over([re.compile(".")])


def note(what: str, since: float) -> None:
    print(f"{what}: {time.monotonic() - since:.1f} s")


def test_a_machine_takes_a_version_and_keeps_what_is_its_own(machine: Machine) -> None:
    assert status(machine)["running"] == "1"
    machine.write("/etc/mine.conf", "mine\n")
    machine.write("/var/lib/mine", "mine\n")
    started = time.monotonic()
    said = machine.succeed("os-update", "apply", "--from", "/run/versions/2")
    note("apply", started)
    assert said.splitlines()[-1] == "version 2 is written, and is started at the next boot"
    started = time.monotonic()
    machine.reboot()
    machine.wait_unit("systemd-bless-boot.service")
    note("reboot until the new version is good", started)
    found = status(machine)
    assert (found["running"], found["on_trial"], found["other"], found["pending"]) == ("2", False, "1", None)
    assert (machine.read("/etc/mine.conf"), machine.read("/var/lib/mine")) == ("mine\n", "mine\n")
    assert [each["what"] for each in json.loads(machine.succeed("os-update", "history", "--json"))] == [
        "written",
        "good",
    ]


def test_a_version_that_is_not_well_goes_back_and_says_why(machine: Machine) -> None:
    mount(machine)
    machine.succeed("os-update", "apply", "--from", "/run/versions/3")
    expect_the_worst(machine)
    started = time.monotonic()
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reset()
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    note("from the unhealthy version's reboot to the old one", started)
    found = status(machine)
    assert (found["running"], found["on_trial"], found["pending"]) == ("2", False, None)
    assert "healthy.service failed (the third version is sick)" in found["failed"]["3"]["reason"]
    mount(machine)
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/3")
    assert "version 3 has failed on this machine and is skipped" in refused.stderr


def test_a_version_whose_root_is_damaged_goes_back(machine: Machine) -> None:
    machine.succeed("os-update", "apply", "--from", "/run/versions/4")
    expect_the_worst(machine)
    started = time.monotonic()
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reset()
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    note("from the damaged version's reboot to the old one", started)
    found = status(machine)
    assert found["running"] == "2"
    assert "1 start" in found["failed"]["4"]["reason"]
