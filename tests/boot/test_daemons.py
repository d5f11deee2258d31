"""Debian's daemons in an image that ran none of their scripts: they start, with their users, and answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build_text
from vm.machine import Machine

pytestmark = pytest.mark.boot

OUT = Path(__file__).parent.parent.parent / "out" / "daemons"
DEFINITION = """\
name: daemons
version: 1.0.0
features: [base]
packages: [nginx, redis-server, redis-tools, dpkg]
outputs: [qcow2]
"""


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    """A machine with nginx and redis, booted without any configuration."""
    with booted(build_text(DEFINITION, OUT, store), OUT / "machine", store, seconds=300, boot="kernel") as machine:
        yield machine


def test_nginx_answers(machine: Machine) -> None:
    assert "Welcome to nginx" in machine.wait_http(80)
    assert machine.succeed("stat -c %U:%G:%a /var/log/nginx/access.log") == "www-data:adm:640"


def test_redis_answers_and_keeps_what_it_was_told(machine: Machine) -> None:
    assert machine.succeed("redis-cli ping") == "PONG"
    machine.succeed("redis-cli set greeting hello")
    machine.succeed("redis-cli save")
    assert machine.succeed("stat -c %U:%G:%a /var/lib/redis") == "redis:redis:750"
    assert machine.succeed("stat -c %U:%G:%a /etc/redis/redis.conf") == "redis:redis:640"
    machine.succeed("systemctl restart redis-server.service")
    assert machine.succeed("redis-cli get greeting") == "hello"


def test_dpkg_knows_what_is_installed_and_cannot_change_it(machine: Machine) -> None:
    line = machine.succeed("dpkg -l redis-server").splitlines()[-1].split()
    assert line[:2] == ["ii", "redis-server"]
    assert machine.succeed("dpkg -S /usr/sbin/nginx") == "nginx: /usr/sbin/nginx"
    assert "/etc/redis/redis.conf" in machine.succeed("dpkg-query -W -f ${Conffiles} redis-server")
    machine.fail("dpkg --purge redis-server")
    assert machine.succeed("dpkg --audit") == ""


def test_without_a_config_nobody_can_log_in_and_nothing_else_listens(machine: Machine) -> None:
    assert all(line.split(":")[1].startswith(("*", "!")) for line in machine.read("/etc/shadow").splitlines())
    assert machine.run("find", "/etc", "/home", "/root/", "-name", "authorized_keys*").stdout == ""
    listeners = {line.split()[3] for line in machine.succeed("ss -Hltn").splitlines()}
    outside = {address for address in listeners if not address.startswith(("127.", "[::1]"))}
    assert {address.rpartition(":")[2] for address in outside} == {"80"}  # nginx, which the definition asks for


def test_nothing_failed(machine: Machine) -> None:
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""
