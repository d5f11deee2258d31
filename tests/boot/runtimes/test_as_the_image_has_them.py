"""Containers of the image by podman, containerd and Docker: they answer, and nothing of their layers was copied.

The file is the first of its directory: later ones pull into the same stores.
"""

from __future__ import annotations

import json

import pytest

from vm.machine import Machine

pytestmark = pytest.mark.boot

LAYER = "/usr/lib/build-os/container-images/storage/overlay"


def count_bytes(machine: Machine, directory: str) -> int:
    """Bytes of the files below a directory, without what links lead to, and what is mounted there for a container."""
    return int(machine.succeed("du", "--summarize", "--bytes", "--one-file-system", directory).split()[0])


def test_podmans_container_answers_from_the_root(machine: Machine) -> None:
    assert "the box answers" in machine.wait_http(8080)
    assert json.loads(machine.succeed("podman inspect box"))[0]["OCIRuntime"] == "crun"


def test_containerds_container_answers_and_no_layer_was_copied(machine: Machine) -> None:
    machine.wait_unit("store.service")
    assert "the box answers" in machine.wait_http(8082)
    snapshots = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    links = machine.succeed("find", snapshots, "-name", "fs", "-type", "l", "-printf", "%l\\n").splitlines()
    assert links
    assert all(link.startswith(LAYER) for link in links)
    blobs = count_bytes(machine, "/var/lib/containerd/io.containerd.content.v1.content/blobs")
    print(f"containerd: {blobs} bytes of content at the first start")
    assert blobs < 64 << 10  # the box's layer alone has two million


def test_it_is_there_again_after_its_process_was_killed(machine: Machine) -> None:
    machine.succeed("ctr --namespace build-os tasks kill --signal KILL store")
    machine.succeed("sh", "-c", "until ctr --namespace build-os tasks list | grep -q RUNNING; do sleep .2; done")
    assert "the box answers" in machine.wait_http(8082)


def test_dockers_container_answers_and_no_layer_was_copied(machine: Machine) -> None:
    machine.succeed("systemctl start shop.service")
    assert "the box answers" in machine.wait_http(8081)
    assert machine.succeed("docker", "images", "--format", "{{.Repository}}:{{.Tag}}") == "localhost/box:1.0.0"
    links = machine.succeed("find /var/lib/docker/overlay2 -name diff -type l -printf %l").split()
    assert len(links) == 1
    assert links[0].startswith(LAYER)
    stored = count_bytes(machine, "/var/lib/docker")
    print(f"docker: {stored} bytes in its store at the first start")
    assert stored < 1 << 20


def find_cgroup(machine: Machine, process: str) -> str:
    return machine.read(f"/proc/{process}/cgroup").strip().partition("::")[2]


def test_each_runtime_has_a_socket_networks_groups_and_a_store_of_its_own(machine: Machine) -> None:
    # docs/containers.md, "Several runtimes in one image", row by row.
    machine.wait_unit("pod.service")
    machine.wait_unit("store.service")
    machine.succeed("systemctl start shop.service")
    sockets = {"/run/containerd/containerd.sock": "root:root 660", "/run/docker.sock": "root:docker 660"}
    for socket, owner in sockets.items():
        assert machine.succeed("stat", "--format", "%U:%G %a", socket) == owner
    assert machine.unit("podman.socket")["ActiveState"] == "inactive"
    spaces = machine.succeed("ctr namespaces list --quiet").split()
    assert {"build-os", "k8s.io", "moby"} <= set(spaces)
    # Each knows its own containers alone.
    assert machine.succeed("podman", "ps", "--format", "{{.Names}}").split() == ["box"]
    assert machine.succeed("docker", "ps", "--format", "{{.Names}}").split() == ["shop"]
    assert machine.succeed("ctr --namespace build-os containers list --quiet").split() == ["store"]
    tasks = [line.split() for line in machine.succeed("ctr --namespace build-os tasks list").splitlines()[1:]]
    processes = {
        "box": machine.succeed("podman", "inspect", "--format", "{{.State.Pid}}", "box"),
        "shop": machine.succeed("docker", "inspect", "--format", "{{.State.Pid}}", "shop"),
        "store": tasks[0][1],
        "pod": machine.unit("pod.service")["MainPID"],
    }
    groups = {
        "box": "/system.slice/box.service/",
        "shop": "/system.slice/docker-",
        "store": "/machine.slice/build-os-store.scope",
        "pod": "/system.slice/pod.service",
    }
    networks = {"box": "10.88.", "shop": "172.17.", "store": "10.87.", "pod": "10.87."}
    for name, process in processes.items():
        assert find_cgroup(machine, process).startswith(groups[name])
        shown = json.loads(machine.succeed(f"nsenter --target {process} --net ip -4 -json address show eth0"))
        assert shown[0]["addr_info"][0]["local"].startswith(networks[name]), name
    for store in ("/var/lib/containers", "/var/lib/containerd", "/var/lib/docker"):
        assert machine.succeed(f"stat --format %U {store}") == "root"
    # Debian's podman brings one for CNI as well, and the first by name counts.
    assert machine.succeed("ls /etc/cni/net.d").split()[0] == "50-build-os.conflist"
    machine.succeed("systemctl stop shop.service")
    assert machine.succeed("docker ps --all --quiet") == ""
    # Its engine goes, so that whoever comes next finds it as after a boot.
    machine.succeed("systemctl stop docker.service")
