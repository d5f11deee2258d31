"""Everything that a config can ask for, carried out by a machine whose power fails twice on the way.

Its clock is beyond 2038, it has no source of random numbers, and another disk has a partition of the name ``state``,
none of which must matter.
"""

from __future__ import annotations

import gzip
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.logins import KEY
from tests.support.machines import MASK_CONTAINER, started
from vm.machine import Machine

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "out" / "boot-tests" / "full"
CANARY = "a-secret-that-nobody-repeats"
ZIPPED = b64encode(gzip.compress(b"unpacked\n" * 1000, mtime=0)).decode()
CONFIG = f"""\
variant: buildos
version: 1.0.0

hostname: full-1.example.org
timezone: Asia/Kolkata

passwd:
  groups:
    - name: operators
      gid: 2000
  users:
    - name: core
      uid: 1000
      groups: [operators, systemd-journal]
      shell: /bin/bash
      password_hash: $6$salt${CANARY}
      ssh_authorized_keys: [{KEY}]
    - name: robot
      system: true
      no_create_home: true
      shell: /usr/sbin/nologin

storage:
  directories:
    - path: /var/lib/app
      mode: 0750
      user: {{name: core}}
      group: {{name: operators}}
  files:
    - path: /etc/app/settings.toml
      mode: 0640
      group: {{name: operators}}
      contents:
        inline: |
          greeting = "hello"
    - path: /etc/app/key
      mode: 0600
      contents: {{inline: {CANARY}}}
    - path: /var/lib/app/unpacked
      contents:
        compression: gzip
        source: data:;base64,{ZIPPED}
    - path: /etc/hosts
      append: [{{inline: "192.0.2.10 db-2\\n"}}]
  links:
    - path: /etc/app/settings
      target: settings.toml
    - path: /var/lib/app/again
      target: /var/lib/app/unpacked
      hard: true

systemd:
  units:
    - name: app.service
      enabled: true
      contents: |
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/usr/bin/cp /etc/app/settings /run/app-was-here
        [Install]
        WantedBy=multi-user.target
    - name: systemd-timesyncd.service
      enabled: false
      dropins:
        - name: 10-slow.conf
          contents: |
            [Service]
            TimeoutStartSec=5min
    - name: ctrl-alt-del.target
      mask: true
  quadlets:
    - name: second.container
      rootful: true
      contents: |
        [Container]
        Image=localhost/web:1.0.0
        [Install]
        WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def impostor(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a file system that claims to be the state of some machine."""
    directory = tmp_path_factory.mktemp("impostor")
    (directory / "80-state.conf").write_text("[Partition]\nType=linux-generic\nLabel=state\nFormat=ext4\n")
    disk = directory / "disk.raw"
    options = ("--empty=create", "--size=64M", "--offline=yes", "--dry-run=no", f"--definitions={directory}")
    tools.run("systemd-repart", *options, disk)
    return disk


@pytest.fixture(scope="module")
def machine(demo: Path, store: Store, impostor: Path) -> Iterator[Machine]:
    """The machine after its first boot, which was cut short twice: as it began, and when its files reached the disk."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = FOLDER.with_name("full.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    late = datetime(2038, 1, 20, tzinfo=UTC)
    options: dict[str, Any] = {"boot": "kernel", "memory": 2048, "rtc": late, "rng": False, "media": [impostor]}
    with started(demo, FOLDER, store, config=config, **options) as machine:
        until(machine, lambda: bool(machine.firstboot.events), "the first boot to begin")
        machine.power_cut()
        until(machine, lambda: bool(machine.firstboot.events), "the first boot to begin again")
        before = flushes(machine)
        until(machine, lambda: flushes(machine) > before, "files to reach the disk")
        machine.power_cut()
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        yield machine


def until(machine: Machine, condition: Callable[[], bool], what: str) -> None:
    """Look often: what is waited for lasts for less than a second."""
    while not condition():
        assert not machine.is_off, f"the machine is off, while waiting for {what}"
        assert machine.deadline.remaining > 0, f"no time is left to wait for {what}"
        time.sleep(0.01)


def flushes(machine: Machine) -> int:
    """How often the guest has told its boot disk to write down what it has."""
    every = machine.qmp.run_command("query-blockstats", machine.deadline)
    (boot_disk,) = [each["stats"] for each in every if each.get("node-name") == "disk0"]
    return int(boot_disk["flush_operations"])


def test_the_machine_is_what_its_config_says(machine: Machine) -> None:
    assert machine.succeed("hostname") == "full-1.example.org"
    assert machine.succeed("date +%Z") == "IST"
    assert machine.succeed("id -un 1000") == "core"
    assert {"operators", "systemd-journal"} <= set(machine.succeed("id -Gn core").split())
    assert machine.succeed("getent passwd robot").endswith(":/usr/sbin/nologin")
    assert machine.succeed("stat -c %U:%G:%a /var/lib/app /etc/app/settings.toml /etc/app/key").split() == [
        "core:operators:750",
        "root:operators:640",
        "root:root:600",
    ]
    assert machine.read("/etc/app/settings") == 'greeting = "hello"\n'
    assert machine.read("/var/lib/app/unpacked") == "unpacked\n" * 1000
    assert machine.succeed("stat -c %h /var/lib/app/again") == "2"
    assert machine.read("/home/core/.ssh/authorized_keys.d/ignition") == f"{KEY}\n"


def test_its_units_are_as_the_config_says(machine: Machine) -> None:
    assert machine.read("/run/app-was-here") == 'greeting = "hello"\n'
    assert machine.unit("systemd-timesyncd.service")["UnitFileState"] == "disabled"
    assert machine.unit("systemd-timesyncd.service")["TimeoutStartUSec"] == "5min"
    assert machine.unit("ctrl-alt-del.target")["LoadState"] == "masked"
    machine.wait_unit("second.service")
    assert {"second", "web"} <= set(machine.succeed("podman ps --format {{.Names}}").replace("systemd-", "").split())
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""


def test_the_state_is_on_the_machines_own_disk(machine: Machine) -> None:
    assert machine.succeed("lsblk -n -r -o PARTLABEL /dev/vdb1") == "state"
    assert machine.succeed("findmnt -n -o SOURCE /run/state").startswith("/dev/vda")


def test_nothing_was_done_twice(machine: Machine) -> None:
    """Two attempts went before the one that was completed."""
    assert machine.boots >= 3
    for path, line in {"/etc/passwd": "core:", "/etc/group": "operators:", "/etc/hosts": "192.0.2.10 "}.items():
        lines = [each for each in machine.read(path).splitlines() if each.startswith(line)]
        assert len(lines) == 1, (path, lines)
    assert machine.succeed("find /run/state /run/firstboot -name fetched-*") == ""


def test_secrets_are_nowhere_but_where_the_config_puts_them(machine: Machine) -> None:
    found = machine.run("grep", "-rlsF", CANARY, "/etc", "/run", "/var/lib", "/var/tmp").stdout.split()
    # What was applied is kept, to be compared with what is there: for root alone.
    kept = [path for path in found if path.endswith("/var/lib/firstboot/applied.json")]
    assert {machine.succeed("stat", "-c", "%a:%U", path) for path in kept} == {"600:root"}
    found = [path for path in found if path not in kept]
    places = {path.removeprefix("/run/state/etc/upper").removeprefix("/etc") for path in found}
    assert {"/app/key", "/shadow"} <= places <= {"/app/key", "/shadow", "/shadow-"}
    assert machine.run("journalctl", "-q", "--no-pager", "-g", CANARY).stdout == ""


def test_the_processors_own_random_numbers_are_enough(machine: Machine) -> None:
    ready = [line for line in machine.journal("-k") if "crng init done" in line]
    assert ready, "the kernel never had random numbers"
    assert [line for line in machine.journal("-k") if "blocked for more than" in line] == []


def test_the_clock_may_be_beyond_2038(machine: Machine) -> None:
    assert machine.succeed("date --utc +%Y-%m") == "2038-01"
    result = json.loads(machine.read("/run/firstboot/result.json"))
    assert result["time"].startswith("2038-01-")


def test_another_config_at_a_later_boot_changes_nothing_and_is_told_once(machine: Machine) -> None:
    kept = ("/etc/machine-id", "/run/state/firstboot/complete", "/etc/hostname", "/etc/ssh/ssh_host_ed25519_key.pub")
    before = {path: machine.read(path) for path in kept}
    assert machine.spec.firstboot_config is not None
    machine.spec.firstboot_config.write_text("variant: buildos\nversion: 1.0.0\nhostname: changed\n")
    machine.succeed(MASK_CONTAINER)
    machine.succeed("sync")
    machine.power_cut()
    machine.wait_unit("multi-user.target")
    assert {path: machine.read(path) for path in kept} == before
    assert machine.firstboot.events == ()
    machine.wait_unit("firstboot-config-check.service")
    said = [line for line in machine.journal("-u", "firstboot-config-check.service") if "another config" in line]
    assert len(said) == 1
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""
