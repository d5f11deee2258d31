"""``variant: buildos`` as a user writes it, on a machine: what the sugar became works, and secrets stay secret."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cli.configs import read_config
from builder.core.store import Store
from builder.provisioning.values import read_values
from tests.boot.conftest import MACHINES, REPOSITORY
from tests.support.machines import booted
from vm.guest.credentials import Credential
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # a boot of its own, which takes longer than what it adds to CI

TOKEN = b"canary-of-the-platform-4b1f"
PASSWORD = b"canary-of-a-file-93ce"
# What the example leaves out because it needs an image, or a secret that nobody has beside the repository.
MORE = """\
variant: buildos
version: 1.0.0
include: [web.yaml]
variables: {name: web-7}
secrets:
  - name: password
  - {name: again, credential: web.token, path: /etc/web/token, mode: 0640, group: {name: systemd-journal}}
storage:
  files:
    - path: /etc/web/settings
      contents: {inline: "password = ${secrets.password}"}
containers:
  - name: second
    image: localhost/web:1.0.0
    ports: ["8082:8080"]
    environment: {TEXT: 'a "b" $HOME 50%'}
    credentials: [password]
    health: {command: [/usr/bin/busybox, wget, -q, -O, /dev/null, "http://localhost:8080/"], interval: 10s}
"""


@pytest.fixture(scope="module")
def machine(demo: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("variant")
    (directory / "web.yaml").write_text((MACHINES / "web.yaml").read_text())
    (directory / "more.yaml").write_text(MORE)
    (directory / "password").write_bytes(PASSWORD)
    values = read_values([], ["name=web-7"], [], [], [f"password={directory / 'password'}"])
    config = directory / "compiled.ign"
    config.write_text(read_config(directory / "more.yaml", values).text)
    folder = REPOSITORY / "out" / "boot-tests" / "variant"
    credentials = [Credential("web.token", TOKEN)]
    with booted(demo, folder, store, credentials=credentials, config=config, memory=2048) as started:
        yield started


def shell(machine: Machine, script: str) -> str:
    return machine.succeed("sh", "-c", script)


def page(machine: Machine, port: int) -> str:
    program = f"import urllib.request as u; print(u.urlopen('http://localhost:{port}').read().decode())"
    return machine.succeed("python3", "-c", program)


def test_the_system_is_set_up(machine: Machine) -> None:
    assert machine.succeed("hostname") == "web-7"
    assert machine.succeed("readlink /etc/localtime").endswith("Europe/Berlin")
    assert machine.succeed("cat /proc/sys/vm/swappiness /proc/sys/net/core/somaxconn").split() == ["10", "1024"]
    assert machine.succeed("swapon --show=NAME,SIZE --noheadings").split() == ["/var/swapfile", "64M"]
    assert machine.succeed("stat -c %a:%U /var/swapfile") == "600:root"
    assert "0.pool.ntp.org" in machine.succeed("timedatectl show-timesync --property=SystemNTPServers")


def test_the_interfaces_are_there_with_their_addresses(machine: Machine) -> None:
    uplink = machine.succeed("ip -o -4 addr show to 10.0.2.0/24").split()[1]  # QEMU's own network
    assert machine.succeed(f"cat /sys/class/net/{uplink}/mtu") == "1400"
    assert "192.0.2.1/24" in machine.succeed("ip -o -4 addr show dev inside")
    assert "vlan protocol 802.1Q id 10" in machine.succeed("ip -d link show storage")
    assert "198.51.100.2/24" in machine.succeed("ip -o -4 addr show dev storage")


def test_a_users_own_unit_runs_without_a_login(machine: Machine) -> None:
    machine.wait_unit("user@1000.service")
    assert machine.succeed("stat -c %U:%G /home/core/.config/systemd/user/greet.service") == "core:core"
    shell(machine, "until test -s /home/core/greeted; do sleep 0.2; done")
    assert machine.succeed("stat -c %U /home/core/greeted") == "core"


def test_directories_above_a_file_belong_to_the_user(machine: Machine) -> None:
    listed = machine.succeed("stat -c %a:%U:%G /home/core/.config /home/core/.config/greet")
    assert listed.split() == ["700:core:core", "700:core:core"]


def test_a_python_program_serves_from_its_sandbox(machine: Machine) -> None:
    answer = page(machine, 8081)
    name, uid, etc, token = answer.split()
    assert (name, etc, token) == ("web-7", "etc=False", hashlib.sha256(TOKEN).hexdigest())
    assert int(uid.removeprefix("uid=")) >= 61184  # of DynamicUser=, systemd's range
    assert machine.succeed("cat /var/lib/web-app/visits").startswith("x")


def test_health_checks_let_the_boot_be_good(machine: Machine) -> None:
    machine.succeed("systemctl start boot-complete.target")
    for name in ("health-web-app.service", "health-inside.service"):
        assert machine.unit(name)["Result"] == "success"


def test_a_container_runs_with_what_it_was_given(machine: Machine) -> None:
    assert "It works" in page(machine, 8082)
    inside = machine.succeed("podman exec second /usr/bin/busybox env")
    assert 'TEXT=a "b" $HOME 50%' in inside.splitlines()
    machine.succeed("podman healthcheck run second")


def test_secrets_are_where_they_belong_and_nowhere_else(machine: Machine) -> None:
    assert machine.succeed("stat -c %a:%U /etc/credstore/password /etc/credstore /etc/web/settings").split() == [
        "600:root",
        "700:root",
        "600:root",
    ]
    assert machine.read("/etc/web/settings") == f"password = {PASSWORD.decode()}"
    assert machine.read("/etc/web/token") == TOKEN.decode()
    assert machine.succeed("stat -c %a:%G /etc/web/token") == "640:systemd-journal"
    for canary in (TOKEN.decode(), PASSWORD.decode()):
        search = f"grep --recursive --text --files-with-matches --no-messages {canary}"
        everywhere = "/run /etc /var /home /dev/shm"
        # Root finds them, so the search can find something; nobody else does.
        assert "/etc/" in machine.run(*search.split(), *everywhere.split()).stdout
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        assert machine.run(*nobody, *search.split(), *everywhere.split()).stdout == ""
        # What was applied is kept for 'firstboot diff', for root alone.
        kept = machine.run(*search.split(), "/run/firstboot", "/var/lib/firstboot", "/var/log").stdout.split()
        assert {*kept} <= {"/var/lib/firstboot/applied.json"}
        assert all(machine.succeed(f"stat -c %a:%U {path}") == "600:root" for path in kept)
        assert shell(machine, f"journalctl --all --output=export | grep --text --count {canary} || true") == "0"
    assert shell(machine, "journalctl --all --output=export | grep --text --count firstboot || true") != "0"
