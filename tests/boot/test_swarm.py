"""Two machines that are a Docker Swarm by their first-boot configs, and a service that outlives one of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.boot.conftest import MACHINES, REPOSITORY
from tests.support.clusters import connected
from tests.support.machines import build_text
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = REPOSITORY / "out" / "swarm"
DEFINITION = """\
name: swarm
version: 1.0.0
features: [base, swarm]
packages: [busybox-static]
outputs: [qcow2]
disk: {size: 10G}
"""
# Says which container it is. Made on each machine of a program of the image: nothing is pulled.
SERVE = "mkdir /w; /usr/bin/busybox hostname >/w/index.html; exec /usr/bin/busybox httpd -f -p 8080 -h /w"
IMPORT = f"""\
tar -C / -c usr/bin/busybox | docker import --change 'ENTRYPOINT ["/usr/bin/busybox", "sh", "-c", "{SERVE}"]' - page:1
"""
GET = "/usr/bin/busybox wget -q -O - http://127.0.0.1:8080/"
# Asks the routing mesh of this machine four times a second, and writes down when it was answered, and by whom.
ASK = """\
import time, urllib.request
start = time.monotonic()
while True:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=2) as answer:
            print(f"{time.monotonic() - start:.2f} {answer.read().decode().strip()}", flush=True)
    except OSError as error:
        print(f"{time.monotonic() - start:.2f} - {error}", flush=True)
    time.sleep(0.25)
"""

LIST = "docker service ps page --filter desired-state=running --format '{{.Node}} {{.CurrentState}}'"
ALL_ON_MANAGER = f"test $({LIST} | grep -c '^swarm-1 Running') = 4"


def make_keys(tools: Tools, folder: Path) -> None:
    """What docs/clusters.md makes: the key that workers ask with, and the one that the manager is known by."""
    for name in ("join", "manager"):
        tools.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
    kind, key, _comment = (folder / "manager.pub").read_text().split()
    (folder / "known_hosts").write_text(f"swarm-1 {kind} {key}\n")


def compile_config(name: str, folder: Path, *values: str) -> Path:
    out = folder / f"{name}.json"
    given = [word for value in values for word in ("--set", value)]
    command = [sys.executable, "-m", "builder", "config", "compile", "--files-dir", folder, "-o", out, *given]
    subprocess.run([*command, MACHINES / f"{name}.yaml"], check=True, cwd=REPOSITORY)
    return out


@pytest.fixture(scope="module")
def nodes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """The manager and the worker, switched on with their configs and nothing else."""
    manifest = build_text(DEFINITION, OUT, store)
    folder = tmp_path_factory.mktemp("keys")
    make_keys(Tools(read_image(manifest).tools, QuietConsole()), folder)
    configs = {
        "swarm-1": compile_config("swarm-manager", folder, "address=10.77.0.10"),
        "worker-1": compile_config("swarm-worker", folder),
    }
    with connected(OUT / "machines", store) as start:
        machines = []
        for name, config in configs.items():
            machine = start(name, manifest, config=config, memory=1536)
            machine.wait_firstboot()
            machine.wait_unit("basic.target")
            machines.append(machine)
        for machine in machines:
            machine.wait_unit("docker.service")
        yield machines


def wait_in(machine: Machine, condition: str) -> None:
    machine.succeed("sh", "-c", f"until {condition}; do sleep 1; done")


def test_two_configs_make_a_swarm(nodes: list[Machine]) -> None:
    manager, worker = nodes
    wait_in(manager, "test $(docker node ls --format '{{.Status}}' | grep -c Ready) = 2")
    assert (
        worker.succeed("docker info --format {{.Swarm.LocalNodeState}}/{{.Swarm.ControlAvailable}}") == "active/false"
    )
    # The key is good for the worker's token, and for no command, no shell and no forwarded port.
    ssh = "ssh -F none -i /etc/swarm/join.key -o BatchMode=yes -o UserKnownHostsFile=/etc/swarm/known_hosts"
    asked = worker.succeed("sh", "-c", f"{ssh} swarm-join@swarm-1 docker swarm join-token --quiet manager")
    assert asked.startswith("SWMTKN-1-")
    assert asked == manager.succeed("docker swarm join-token --quiet worker")
    assert asked != manager.succeed("docker swarm join-token --quiet manager")
    # Nothing of the engine is open to the network but the swarm's own ports.
    ports = {line.split()[3].rpartition(":")[2] for line in manager.succeed("ss -Hltn").splitlines()}
    assert not {"2375", "2376"} & ports


def create_service(nodes: list[Machine]) -> None:
    """Four containers, two on each machine, behind port 8080 of both."""
    manager, _worker = nodes
    for machine in nodes:
        machine.succeed("sh", "-c", IMPORT)
    manager.succeed(
        "docker service create --detach --name page --replicas 4 --publish 8080:8080 --no-resolve-image page:1"
    )
    wait_in(manager, "docker service ls --format '{{.Replicas}}' | grep -qx 4/4")


def test_a_worker_that_was_cut_off_gives_up_what_others_have_taken_over(nodes: list[Machine]) -> None:
    manager, worker = nodes
    create_service(nodes)
    worker.net_down()
    wait_in(manager, ALL_ON_MANAGER)
    # Swarm's word: whoever cannot reach a manager lets its containers run on.
    assert len(worker.succeed("docker ps --quiet --filter name=page").split()) == 2
    worker.net_up()
    wait_in(manager, "test $(docker node ls --format '{{.Status}}' | grep -c Ready) = 2")
    # Four are wanted and four there are: the two that ran on are stopped.
    wait_in(worker, "test $(docker ps --quiet --filter name=page | wc -l) = 0")
    assert manager.succeed("docker service ls --format {{.Replicas}}") == "4/4"
    for machine in nodes:
        asked = machine.succeed("sh", "-c", f"for n in 1 2 3 4 5 6 7 8; do {GET}; done")
        assert len(set(asked.split())) == 4
    manager.succeed("docker service rm page")
    for machine in nodes:
        wait_in(machine, "test $(docker ps --quiet --filter name=page | wc -l) = 0")


def test_a_service_answers_while_a_machine_is_lost(nodes: list[Machine]) -> None:
    manager, worker = nodes
    create_service(nodes)
    where = manager.succeed("docker service ps page --format {{.Node}}").split()
    assert sorted(where) == ["swarm-1", "swarm-1", "worker-1", "worker-1"]
    # The routing mesh: each machine answers for all containers, wherever they are.
    for machine in nodes:
        asked = machine.succeed("sh", "-c", f"for n in 1 2 3 4 5 6 7 8; do {GET}; done")
        assert len(set(asked.split())) == 4

    manager.write("/run/ask.py", ASK)
    manager.succeed("systemd-run --quiet --unit=ask python3 -I /run/ask.py")
    wait_in(manager, "test $(journalctl --boot --output=cat --unit=ask | grep -vc ' - ') -ge 8")
    worker.unplug()
    wait_in(manager, ALL_ON_MANAGER)
    wait_in(manager, "test $(journalctl --boot --output=cat --unit=ask | tail -n 20 | grep -vc ' - ') = 20")
    manager.succeed("systemctl stop ask.service")
    lines = [line.split() for line in manager.succeed("journalctl --boot --output=cat --unit=ask").splitlines()]
    times = [float(line[0]) for line in lines if line[0].replace(".", "").isdigit() and line[1] != "-"]
    gap = max(after - before for before, after in pairwise(times))
    print(f"{len(times)} answers, {len(lines) - len(times)} requests in vain, at most {gap:.1f} s between two answers")
    # A request that meets a container of the lost machine is in vain until that counts as lost; the next one is not.
    assert gap < 15
