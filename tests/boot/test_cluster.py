"""Two machines on a network of their own: they find each other by name, and are two and not one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.machines import WITHOUT_CONTAINER

if TYPE_CHECKING:
    from vm.pytest_plugin import Cluster

pytestmark = [pytest.mark.boot, pytest.mark.slow]

SERVE = "systemd-run --quiet --unit=serve --working-directory=/usr/lib python3 -m http.server 80"
GET = "import sys, urllib.request; print(urllib.request.urlopen('http://web/os-release', timeout=60).read().decode())"
# What would make two machines of one image the same to somebody: who reads it, how it is read.
UNIQUE = {
    "systemd": "cat /etc/machine-id",
    "the kernel": "cat /proc/sys/kernel/random/boot_id",
    "who logs in by ssh": "cat /etc/ssh/ssh_host_ed25519_key.pub",
    "the next boot's random numbers": "sha256sum /var/lib/systemd/random-seed",
    "who mounts by id": "findmnt --noheadings --output=UUID /run/state",
    "who finds disks by their table": "findmnt --noheadings --output=PARTUUID /run/state",
}


def test_two_machines_find_each_other_by_name_and_are_not_the_same(cluster: Cluster) -> None:
    web, db = cluster("web", "db", memory=768, boot="kernel", arguments=WITHOUT_CONTAINER)
    web.succeed(SERVE)
    web.succeed("/bin/sh", "-c", "until ss -Hltn sport = :80 | grep -q LISTEN; do sleep .2; done")
    assert db.succeed("getent", "ahostsv4", "web.cluster.test").split()[0] == "10.77.0.10"
    assert "ID=debian" in db.succeed("python3", "-c", GET)

    for who, command in UNIQUE.items():
        one, other = web.succeed(command), db.succeed(command)
        assert one, who
        assert one != other, who
    assert db.fail("getent", "ahostsv4", "nobody.cluster.test").status == 2
