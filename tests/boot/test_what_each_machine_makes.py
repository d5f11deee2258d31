"""What scripts leave to the machine, of the packages that leave most, in one boot: it is made, and has its owner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build_text
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # ten servers in one image, and what they make takes minutes

OUT = Path(__file__).parent.parent.parent / "out" / "own-data"
# Their services are not started: what is looked at is what they would need.
DEFINITION = """\
name: own-data
version: 1.0.0
features: [base]
packages: [bind9, mariadb-server, munge, munin-node, nullmailer, nvme-cli, open-iscsi, postgresql, rabbitmq-server,
           ssl-cert]
presets:
  disable: [named.service, mariadb.service, munge.service, munin-node.service, nullmailer.service, open-iscsi.service,
            iscsid.socket, postgresql.service, rabbitmq-server.service]
disk: {slot: 3G, size: 10G}
"""
# Unit -> what is there when it has run: owner, group, mode.
MADE = {
    "bind9": {"/etc/bind/rndc.key": "bind:bind:640"},
    "mariadb-server": {"/var/lib/mysql/mysql": "mysql:mysql:700"},
    "munge": {"/etc/munge/munge.key": "munge:munge:600"},
    "nullmailer": {"/etc/mailname": "root:root:644"},
    "nvme-cli": {"/etc/nvme/hostnqn": "root:root:644", "/etc/nvme/hostid": "root:root:644"},
    "open-iscsi": {"/etc/iscsi/initiatorname.iscsi": "root:root:600"},
    "rabbitmq-server": {"/var/lib/rabbitmq/.erlang.cookie": "rabbitmq:rabbitmq:400"},
    "ssl-cert": {
        "/etc/ssl/private/ssl-cert-snakeoil.key": "root:ssl-cert:640",
        "/etc/ssl/certs/ssl-cert-snakeoil.pem": "root:root:644",
    },
}


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    with booted(build_text(DEFINITION, OUT, store), OUT / "machine", store, seconds=300, boot="kernel") as machine:
        yield machine


def test_every_program_that_is_left_to_the_machine_runs_there(machine: Machine) -> None:
    units = machine.succeed("sh", "-c", "cd /usr/lib/systemd/system && ls own-data-*.service").split()
    assert {f"own-data-{name}.service" for name in MADE} <= {*units}
    failed = {}
    for unit in units:
        done = machine.run("systemctl", "start", unit)
        if done.status != 0:
            failed[unit] = machine.run("journalctl", "-b", "-o", "cat", "-u", unit).stdout
    assert failed == {}
    for paths in MADE.values():
        for path, owner in paths.items():
            assert machine.succeed(f"stat -c %U:%G:%a {path}") == owner, path
            assert machine.succeed(f"stat -c %s {path}") != "0", path
