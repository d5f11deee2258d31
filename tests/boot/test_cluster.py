"""Two machines on a network of their own: they find each other by name, and are two and not one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vm.pytest_plugin import Cluster

pytestmark = pytest.mark.boot

SERVE = "systemd-run --quiet --unit=serve --working-directory=/usr/lib python3 -m http.server 80"
GET = "import sys, urllib.request; print(urllib.request.urlopen('http://web/os-release', timeout=60).read().decode())"


def test_two_machines_find_each_other_by_name_and_are_not_the_same(cluster: Cluster) -> None:
    web, db = cluster("web", "db", memory=768)
    web.succeed(SERVE)
    web.succeed("/bin/sh", "-c", "until ss -Hltn sport = :80 | grep -q LISTEN; do sleep .2; done")
    assert db.succeed("getent", "ahostsv4", "web.cluster.test").split()[0] == "10.77.0.10"
    assert "ID=debian" in db.succeed("python3", "-c", GET)

    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        assert web.read(path) != db.read(path), path
    assert db.fail("getent", "ahostsv4", "nobody.cluster.test").status == 2
