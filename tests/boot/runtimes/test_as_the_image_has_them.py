"""Containers of the image by podman, containerd and Docker: they answer, and nothing of their layers was copied.

The file is the first of its directory: later ones pull into the same stores.
"""

from __future__ import annotations

import json

import pytest

from vm.machine import Machine

# Until it has been measured on a quiet machine: programs in Go are slow to start under emulation.
pytestmark = [pytest.mark.boot, pytest.mark.slow]

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
    machine.succeed("systemctl stop shop.service")
    assert machine.succeed("docker ps --all --quiet") == ""
    # Its engine goes, so that whoever comes next finds it as after a boot.
    machine.succeed("systemctl stop docker.service")
