"""The feature docker: what somebody who comes from Docker does first, on the engine of Debian.

Images are built, and a file of compose is brought up, by the commands of the page (``test_the_page.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.boot.runtimes.conftest import HOST
from tests.boot.runtimes.guest_processes import list_ancestors
from vm.machine import Machine

pytestmark = pytest.mark.boot

BOX = f"{HOST}/box:1.0.0"
# Once it is well, nobody asks again: under emulation each question is a second of work.
HEALTH = (
    *("--health-cmd", "wget -q -O /dev/null 127.0.0.1:8080", "--health-interval", "1h"),
    *("--health-start-period", "1h", "--health-start-interval", "2s"),
)


@pytest.fixture(scope="module")
def docker(machine: Machine) -> Iterator[Machine]:
    """The engine has been started by its socket, and ``web`` runs: on a network, with a volume, a port and a check."""
    machine.succeed("systemctl stop docker.service")
    assert machine.unit("docker.service")["ActiveState"] == "inactive"
    assert machine.unit("docker.socket")["ActiveState"] == "active"
    machine.succeed(f"docker pull {BOX}")
    assert machine.unit("docker.service")["ActiveState"] == "active"
    machine.succeed("docker network create inner")
    where = ("--network", "inner", "--volume", "kept:/srv", "--publish", "8085:8080", *HEALTH)
    machine.succeed("docker", "run", "--detach", "--name", "web", *where, BOX)
    yield machine
    machine.run("docker rm --force web")


def inspect(machine: Machine, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(machine.succeed("docker", "inspect", "--format", "{{json .State}}", name))
    return found


def test_the_defaults_are_the_safe_ones(docker: Machine) -> None:
    info = json.loads(docker.succeed("docker", "info", "--format", "{{json .}}"))
    assert (info["DefaultRuntime"], info["CgroupDriver"], info["LoggingDriver"]) == ("crun", "systemd", "journald")
    assert info["LiveRestoreEnabled"]
    assert {"name=no-new-privileges"} <= set(info["SecurityOptions"])
    assert any(option.startswith("name=seccomp") for option in info["SecurityOptions"])
    # It listens for what is published, and its API for nobody on the network.
    listening = [line.split()[3] for line in docker.succeed("ss -Hltnp").splitlines() if '"dockerd"' in line]
    assert {address.rpartition(":")[2] for address in listening} <= {"8085"}


def test_a_published_port_leads_into_a_container_with_a_volume(docker: Machine) -> None:
    assert "the box answers" in docker.wait_http(8085)
    docker.succeed("docker", "exec", "web", "sh", "-c", "echo kept > /srv/kept.html")
    assert docker.read("/var/lib/docker/volumes/kept/_data/kept.html") == "kept\n"
    assert docker.wait_http(8085, "/kept.html") == "kept\n"


def test_containers_of_a_network_find_each_other_by_name(docker: Machine) -> None:
    seen = docker.succeed(f"docker run --rm --network inner --entrypoint wget {BOX} -q -O - http://web:8080/")
    assert seen == "the box answers"


def test_what_a_container_says_is_in_the_journal(docker: Machine) -> None:
    docker.succeed(f"docker run --rm --name said --entrypoint echo {BOX} heard")
    docker.succeed("sh", "-c", "until journalctl -b -o cat CONTAINER_NAME=said | grep -qx heard; do sleep .2; done")


def test_a_health_check_is_made(docker: Machine) -> None:
    docker.succeed(
        "sh", "-c", "until [ $(docker inspect --format {{.State.Health.Status}} web) = healthy ]; do sleep .5; done"
    )


def test_systemd_has_the_shim_of_dockers_containerd_and_crun_has_left(docker: Machine) -> None:
    assert list_ancestors(docker, int(str(inspect(docker, "web")["Pid"]))) == ["systemd", "containerd-shim", "busybox"]
    # dockerd -> containerd: the container is one of a namespace of the one containerd of the machine.
    assert docker.succeed("ctr --namespace moby tasks list --quiet") != ""
    running = docker.succeed("sh", "-c", "grep -lx containerd /proc/[0-9]*/comm").split()
    assert running == [f"/proc/{docker.unit('containerd.service')['MainPID']}/comm"]


def test_a_container_lives_on_when_the_engine_is_restarted_or_killed(docker: Machine) -> None:
    before = inspect(docker, "web")["Pid"]
    docker.succeed("systemctl restart docker.service")
    assert inspect(docker, "web")["Pid"] == before
    docker.succeed("systemctl kill --signal=KILL --kill-whom=main docker.service")
    docker.succeed("sh", "-c", "until docker version; do sleep .5; done")
    assert inspect(docker, "web")["Pid"] == before
    assert "the box answers" in docker.wait_http(8085)


def restart(machine: Machine) -> None:
    """Start the engine anew: Debian's unit allows three starts a minute, and the tests before may have had them."""
    machine.succeed("systemctl reset-failed docker.service")
    machine.succeed("systemctl restart docker.service")


def test_containers_have_users_of_their_own_when_the_engine_is_told_so(docker: Machine) -> None:
    docker.succeed("docker rm --force web")
    ours = docker.read("/etc/docker/daemon.json")
    docker.write("/etc/docker/daemon.json", json.dumps(json.loads(ours) | {"userns-remap": "default"}))
    restart(docker)
    docker.succeed(f"docker run --detach --name apart --publish 8085:8080 {BOX}")
    assert "the box answers" in docker.wait_http(8085)
    # Root of the container is nobody on the machine.
    inside, outside, count = docker.read(f"/proc/{inspect(docker, 'apart')['Pid']}/uid_map").split()
    assert (inside, count) == ("0", "65536")
    assert int(outside) >= 100000
    docker.succeed("docker rm --force apart")
    docker.write("/etc/docker/daemon.json", ours)
    restart(docker)
