"""The feature podman: quadlets of every kind, without root as well, their health, secrets and updates."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.boot.runtimes.conftest import HOST, Images
from tests.boot.runtimes.guest_processes import list_processes
from vm.fakes.registry import Registry
from vm.machine import Machine

pytestmark = pytest.mark.boot

BOX = "localhost/box:1.0.0"
QUADLETS = "/etc/containers/systemd"
# Each check of a health is a program of Go, seconds of work under emulation: none is made oftener than a test needs.
# A volume and a network of their own, a pod with a port, a container in it with a secret, a check and all of those. A
# pod of a quadlet stops with its last container, unless it is told to stay for one that is started again.
FILES = {
    "pages.volume": "[Volume]\n",
    "inner.network": "[Network]\n",
    "shop.pod": """\
[Pod]
PodName=shop-pod
PublishPort=8091:8080
Network=inner.network
PodmanArgs=--exit-policy=continue
""",
    "front.container": f"""\
[Container]
Image={BOX}
ContainerName=front
Pod=shop.pod
Pull=never
Volume=pages.volume:/pages
Secret=token,type=mount,target=/run/token
HealthCmd=wget -q -O /dev/null http://127.0.0.1:8080/
HealthInterval=1h
[Service]
Restart=always
""",
    "many.kube": "[Kube]\nYaml=many.yaml\n",
    "many.yaml": f"""\
apiVersion: v1
kind: Pod
metadata: {{name: many}}
spec:
  containers:
    - name: box
      image: {BOX}
      imagePullPolicy: Never
      ports: [{{containerPort: 8080, hostPort: 8092}}]
""",
}
UPDATED = f"""\
[Container]
Image={HOST}/updated:1
ContainerName=updated
AutoUpdate=registry
Notify=healthy
HealthCmd=true
HealthInterval=5s
[Service]
TimeoutStartSec=300
"""
OF_USER = f"""\
[Container]
Image={BOX}
Pull=never
PublishPort=8093:8080
Network=pasta
"""
APART = f"""\
[Container]
Image={BOX}
Pull=never
PublishPort=8094:8080
UserNS=auto
"""
AS_CORE = ("systemd-run", "--quiet", "--user", "--machine=core@.host", "--wait", "--pipe", "--collect")


@pytest.fixture(scope="module")
def shop(machine: Machine) -> Iterator[Machine]:
    """The quadlets of ``FILES``, started."""
    machine.succeed("sh", "-c", "printf s3cret | podman secret create token -")
    machine.succeed(f"mkdir -p {QUADLETS}")
    for name, text in FILES.items():
        machine.write(f"{QUADLETS}/{name}", text)
    machine.succeed("systemctl daemon-reload")
    machine.succeed("systemctl start front.service many.service")
    yield machine
    machine.run("systemctl stop front.service shop-pod.service many.service")


def test_a_container_of_a_pod_answers_on_the_pods_port(shop: Machine) -> None:
    assert "the box answers" in shop.wait_http(8091)
    assert shop.succeed("podman", "inspect", "--format", "{{.Pod}}", "front") != ""
    assert "systemd-inner" in shop.succeed("podman", "network", "ls", "--format", "{{.Name}}").split()
    shop.succeed("podman exec front touch /pages/kept")
    assert shop.succeed("ls /var/lib/containers/storage/volumes/systemd-pages/_data") == "kept"


def test_a_secret_is_in_the_container_and_in_no_unit(shop: Machine) -> None:
    assert shop.succeed("podman exec front cat /run/token") == "s3cret"
    assert "s3cret" not in shop.succeed("systemctl cat front.service")


def test_a_health_check_of_a_quadlet_is_made(shop: Machine) -> None:
    shop.succeed("sh", "-c", "until podman healthcheck run front; do sleep .5; done")
    assert "podman-auto-update" not in shop.succeed("systemctl list-units --failed --no-legend --plain")


def test_a_container_that_crashes_is_started_again(shop: Machine) -> None:
    before = shop.succeed("podman", "inspect", "--format", "{{.State.Pid}}", "front")
    # The shell's own: the image has no such program.
    shop.succeed("sh", "-c", f"kill -KILL {before}")
    pid = "podman inspect --format '{{.State.Pid}}' front"
    shop.succeed("sh", "-c", f"until p=$({pid}) && [ $p != {before} ] && [ $p != 0 ]; do sleep .5; done", within=60)
    assert "the box answers" in shop.wait_http(8091)


def test_a_file_of_kubernetes_is_played(shop: Machine) -> None:
    assert "the box answers" in shop.wait_http(8092)


def test_a_container_has_users_of_its_own_and_no_copy_of_its_files(machine: Machine) -> None:
    machine.write(f"{QUADLETS}/apart.container", APART)
    machine.succeed("systemctl daemon-reload")
    before = int(machine.succeed("du --summarize --bytes --one-file-system /var/lib/containers").split()[0])
    machine.succeed("systemctl start apart.service")
    assert "the box answers" in machine.wait_http(8094)
    process = machine.succeed("podman", "inspect", "--format", "{{.State.Pid}}", "systemd-apart")
    inside, outside, count = machine.read(f"/proc/{process}/uid_map").split()
    print(f"UserNS=auto: {inside} is {outside} outside, {count} in all")
    assert inside == "0"
    assert int(outside) >= 100000
    grown = int(machine.succeed("du --summarize --bytes --one-file-system /var/lib/containers").split()[0]) - before
    print(f"UserNS=auto: {grown} bytes written")
    assert grown < 1 << 20  # the image has two million
    machine.succeed("systemctl stop apart.service")


def test_a_user_without_rights_has_a_container_with_a_port_that_outlives_the_login(machine: Machine) -> None:
    machine.wait_unit("user@1000.service")
    place = "/home/core/.config/containers/systemd"
    machine.succeed(f"mkdir -p {place}")
    machine.write(f"{place}/mine.container", OF_USER)
    machine.succeed("chown -R core: /home/core/.config")
    machine.succeed(*AS_CORE, "systemctl", "--user", "daemon-reload")
    machine.succeed(*AS_CORE, "systemctl", "--user", "start", "mine.service")
    assert "the box answers" in machine.wait_http(8093)
    # pasta names itself after the kernel's features that it may use (pasta.avx2).
    assert list_processes(machine, "pasta.*", uid=1000)
    process = list_processes(machine, "busybox", uid=1000)[0]
    # Root of the container is core, in a user namespace.
    assert machine.read(f"/proc/{process}/uid_map").split()[:3] == ["0", "1000", "1"]
    machine.succeed(*AS_CORE, "systemctl", "--user", "stop", "mine.service")


def test_an_update_that_fails_is_rolled_back_and_one_that_works_stays(
    machine: Machine, registry: Registry, images: Images
) -> None:
    first = registry.add("updated", "1", images.layouts["box"])
    machine.write(f"{QUADLETS}/updated.container", UPDATED)
    machine.succeed("systemctl daemon-reload")
    machine.succeed("systemctl start updated.service")
    assert json.loads(machine.succeed("podman auto-update --dry-run --format json"))[0]["Updated"] == "false"
    registry.add("updated", "1", images.layouts["broken"])
    said = json.loads(machine.run("podman auto-update --format json").stdout)
    assert [(each["Unit"], each["Updated"]) for each in said] == [("updated.service", "rolled back")]
    assert machine.unit("updated.service")["ActiveState"] == "active"
    running = machine.succeed("podman", "inspect", "--format", "{{.ImageDigest}}", "updated")
    assert running == first
    machine.succeed("systemctl stop updated.service")
