"""The features containerd and cri: pulled, run, networked and looked at by ctr, and over the CRI."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.boot.runtimes.conftest import CRI_PORT, HOST
from tests.boot.runtimes.guest_processes import list_ancestors
from tests.support.cri import RUNNING, Client
from vm.machine import Machine

pytestmark = pytest.mark.boot

BOX = f"{HOST}/box:1.0.0"


@pytest.fixture(scope="module")
def pulled(machine: Machine) -> Machine:
    machine.wait_unit("containerd.service")
    machine.succeed(f"ctr images pull --plain-http {BOX}")
    return machine


@pytest.fixture(scope="module")
def two(pulled: Machine) -> Iterator[Machine]:
    """``one`` runs by crun on a network of CNI, ``two`` by runc on none."""
    pulled.succeed(f"ctr run --detach --runc-binary crun --cni {BOX} one")
    pulled.succeed(f"ctr run --detach --runc-binary runc {BOX} two")
    yield pulled
    for name in ("one", "two"):
        pulled.run(f"ctr tasks delete --force {name}")
        pulled.run(f"ctr containers delete {name}")


def find_process(machine: Machine, name: str) -> int:
    rows = [line.split() for line in machine.succeed("ctr tasks list").splitlines()[1:]]
    return next(int(row[1]) for row in rows if row[0] == name and row[2] == "RUNNING")


def find_address(machine: Machine, name: str) -> str:
    shown = machine.succeed(f"nsenter --target {find_process(machine, name)} --net ip -json address show eth0")
    return str(json.loads(shown)[0]["addr_info"][0]["local"])


def test_systemd_has_the_shim_and_the_shim_has_the_container(two: Machine) -> None:
    for name in ("one", "two"):
        assert list_ancestors(two, find_process(two, name)) == ["systemd", "containerd-shim", "busybox"]
    # crun writes its state in a directory of its own, and so does runc.
    assert two.succeed("ctr containers info one").count("io.containerd.runc.v2") == 1
    assert json.loads(two.read("/run/containerd/io.containerd.runtime.v2.task/default/one/options.json"))["binary_name"]


def test_a_bridge_of_cni_leads_to_the_container(two: Machine) -> None:
    address = find_address(two, "one")
    assert address.startswith("10.87.")
    assert json.loads(two.succeed("ip -json address show cni0"))[0]["addr_info"][0]["local"] == "10.87.0.1"
    assert "the box answers" in two.succeed(
        "python3", "-c", f"import urllib.request as u; print(u.urlopen('http://{address}:8080').read().decode())"
    )
    # host-local remembers whose the address is.
    assert address in two.succeed("ls /run/cni/networks/build-os").split()


def test_a_container_lives_on_when_containerd_is_killed(two: Machine) -> None:
    before = {name: find_process(two, name) for name in ("one", "two")}
    two.succeed("systemctl kill --signal=KILL --kill-whom=main containerd.service")
    two.wait_unit("containerd.service")
    two.succeed("sh", "-c", "until ctr version; do sleep .2; done")
    assert {name: find_process(two, name) for name in ("one", "two")} == before
    assert two.succeed("ctr tasks exec --exec-id after one cat /srv/index.html") == "the box answers"


def test_what_is_in_one_namespace_is_not_seen_in_another(two: Machine) -> None:
    assert two.succeed("ctr --namespace other containers list --quiet") == ""
    assert sorted(two.succeed("ctr containers list --quiet").split()) == ["one", "two"]
    # The image's own ends with containerd, which was killed, and its unit starts it anew.
    two.succeed(
        "sh", "-c", "until ctr --namespace build-os containers list --quiet | grep -qx store; do sleep .2; done"
    )
    two.fail(f"ctr --namespace other run --rm {BOX} three")


def test_the_images_of_the_os_are_put_in_although_containerd_is_late_to_answer(two: Machine) -> None:
    socket = "/run/containerd/containerd.sock"
    two.succeed(f"mv {socket} {socket}.away")
    two.succeed("rm /var/lib/containerd/build-os-images.json")
    two.succeed("systemctl --no-block restart containerd-images.service")
    count = "systemctl show --value -p NRestarts containerd-images.service"
    two.succeed("sh", "-c", f"until [ $({count}) -gt 0 ]; do sleep .2; done")
    two.succeed(f"mv {socket}.away {socket}")
    two.wait_unit("containerd-images.service")
    assert two.succeed("ctr --namespace build-os images list --quiet").split()


# --- the CRI ---


@pytest.fixture(scope="module")
def cri(machine: Machine) -> Iterator[Client]:
    machine.wait_unit("containerd.service")
    machine.wait_unit("containerd-images.service")
    client = Client(f"127.0.0.1:{machine.forward(CRI_PORT)}")
    yield client
    client.close()


def test_a_pod_is_made_used_and_removed_over_the_cri(machine: Machine, cri: Client) -> None:
    conditions = {each["type"]: each.get("status", 0) for each in cri.call("Status")["status"]["conditions"]}
    assert conditions["RuntimeReady"] == conditions["NetworkReady"] == 1
    sandbox = {
        "metadata": {"name": "web", "uid": "u-1", "namespace": "default"},
        "hostname": "web",
        "log_directory": "/var/log/pods/web",
        "port_mappings": [{"container_port": 8080, "host_port": 8090}],
        "labels": {"app": "web"},
        # As kubelet says it: with systemd's control groups a slice must be named.
        "linux": {"cgroup_parent": "/pods.slice"},
    }
    pod = cri.call("RunPodSandbox", config=sandbox)["pod_sandbox_id"]
    cri.call("PullImage", image={"image": BOX})
    assert any(BOX in image["repo_tags"] for image in cri.call("ListImages")["images"])
    config = {
        "metadata": {"name": "box"},
        "image": {"image": BOX},
        "command": ["/bin/sh", "-c", "echo to the log; exec busybox httpd -f -p 8080 -h /srv"],
        "log_path": "box.log",
        "linux": {"resources": {"memory_limit_in_bytes": 64 << 20}},
    }
    container = cri.call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=sandbox)["container_id"]
    cri.call("StartContainer", container_id=container)
    assert cri.call("ContainerStatus", container_id=container)["status"]["state"] == RUNNING
    # The published port, from outside of the machine.
    assert "the box answers" in machine.wait_http(8090)
    done = cri.call("ExecSync", container_id=container, cmd=["/bin/hostname"])
    assert (done["stdout"], done.get("exit_code", 0)) == (b"web\n", 0)
    assert cri.call("ExecSync", container_id=container, cmd=["/bin/false"])["exit_code"] == 1
    assert machine.read("/var/log/pods/web/box.log").rstrip().endswith("stdout F to the log")
    stats = cri.call("ContainerStats", container_id=container)["stats"]
    assert 0 < stats["memory"]["working_set_bytes"]["value"] < 64 << 20
    assert stats["cpu"]["usage_core_nano_seconds"]["value"] > 0
    # crun, seccomp on, and systemd's control group with the limit.
    options = machine.read(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{container}/options.json")
    assert json.loads(options) == {"binary_name": "/usr/bin/crun", "systemd_cgroup": True}
    # Process 1 is the sandbox's: the container shares its namespace, as the CRI says of pods that do not ask.
    for process in ("1", "self"):
        status = cri.call("ExecSync", container_id=container, cmd=["/bin/cat", f"/proc/{process}/status"])["stdout"]
        assert "Seccomp:\t2" in status.decode().splitlines()
    cri.call("StopContainer", container_id=container, timeout=1)
    cri.call("RemoveContainer", container_id=container)
    cri.call("StopPodSandbox", pod_sandbox_id=pod)
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    assert cri.call("ListContainers")["containers"] == []
    assert cri.call("ListPodSandbox")["items"] == []
