"""Registries that are down or lie, a full disk, killed runtimes, the power cut during a pull and right after one.

The file is the last of its directory, for it cuts the power of the machine that all these tests share.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boot.runtimes.conftest import HOST, Images
from tests.support.asker import Asker
from tests.support.layouts import Layout
from vm.fakes.registry import Registry
from vm.fakes.web import Reply
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

PAYLOAD = 4 << 20
LAYER = "application/vnd.oci.image.layer.v1.tar"
# What pulls, what lists, and what runs an image that is there with "busybox sha256sum /payload".
PULL = {
    "podman": "podman pull --quiet",
    "docker": "docker pull --quiet",
    "containerd": "ctr images pull --plain-http",
}
LIST = {
    "podman": "podman images --format {{.Repository}}:{{.Tag}}",
    "docker": "docker images --format {{.Repository}}:{{.Tag}}",
    "containerd": "ctr images list --quiet",
}
RUN = {
    "podman": "podman run --rm --pull=never --network=none --entrypoint /usr/bin/busybox {} sha256sum /payload",
    "docker": "docker run --rm --pull=never --network=none --entrypoint /usr/bin/busybox {} sha256sum /payload",
    "containerd": "ctr run --rm --runc-binary crun {} weather /usr/bin/busybox sha256sum /payload",
}
# Containers of the image: unit -> port.
OTHERS = {"box.service": 8080, "store.service": 8082, "pod.service": 8083}


class Served:
    """An image of the registry that no runtime has any part of beside the box's layers: those and a payload."""

    def __init__(self, registry: Registry, box: Path, name: str, folder: Path) -> None:
        payload = random.Random(name).randbytes(PAYLOAD)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo("payload")
            info.size = len(payload)
            archive.addfile(info, io.BytesIO(payload))
        self.layer = out.getvalue()
        self.payload = hashlib.sha256(payload).hexdigest()
        self.digest = hashlib.sha256(self.layer).hexdigest()
        self.image = f"{HOST}/{name}:1"
        self.path = f"/v2/{name}/blobs/sha256:{self.digest}"
        self.web = registry.web
        registry.add(name, "1", self._lay_out(box, folder))

    def _lay_out(self, box: Path, folder: Path) -> Path:
        """The box's image with one layer more."""
        below = json.loads((box / "index.json").read_text())["manifests"][0]
        manifest = json.loads((box / "blobs" / below["digest"].replace(":", "/")).read_text())
        config = json.loads((box / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_text())
        config["rootfs"]["diff_ids"].append(f"sha256:{self.digest}")
        config.setdefault("history", []).append({"created_by": "the test"})
        layout = Layout(folder)
        for layer in manifest["layers"]:
            layout.blob((box / "blobs" / layer["digest"].replace(":", "/")).read_bytes(), layer["mediaType"])
        manifest["layers"].append(layout.blob(self.layer, LAYER))
        manifest["config"] = layout.json(config, manifest["config"]["mediaType"])
        layout.manifests.append(layout.json(manifest, below["mediaType"]))
        return layout.finish()

    def spoil(self) -> None:
        """One byte of the layer is another."""
        self.web.put(self.path, self.layer[:-1] + bytes([self.layer[-1] ^ 1]))

    def stall(self) -> None:
        """Half of the layer comes, and then nothing."""
        self.web.put(self.path, Reply(self.layer, stall=len(self.layer) // 2))

    def heal(self) -> None:
        """The layer is what it says it is."""
        self.web.put(self.path, self.layer)


class Serve:
    """Makes images of the registry, each of its own."""

    def __init__(self, registry: Registry, images: Images, folder: Path) -> None:
        self.registry, self.images, self.folder = registry, images, folder

    def __call__(self, name: str) -> Served:
        return Served(self.registry, self.images.layouts["box"], name, self.folder / name)


@pytest.fixture(scope="module")
def serve(registry: Registry, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    return Serve(registry, images, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def up(machine: Machine) -> Machine:
    """Every runtime runs, and the containers of the image answer."""
    machine.succeed("docker version")
    for unit, port in OTHERS.items():
        machine.wait_unit(unit)
        assert "the box answers" in machine.wait_http(port)
    return machine


def list_failed(machine: Machine) -> set[str]:
    lines = machine.succeed("systemctl list-units --failed --no-legend --plain").splitlines()
    return {line.split()[0] for line in lines}


@contextmanager
def nothing_else_happens(machine: Machine, units: Sequence[str] = tuple(OTHERS)) -> Iterator[None]:
    """The units are the same run of themselves afterwards, and answer; none has failed meanwhile."""

    def list_runs() -> list[str]:
        return [machine.unit(unit)["InvocationID"] for unit in units]

    before, failed = list_runs(), list_failed(machine)
    yield
    assert list_runs() == before
    for unit in units:
        assert "the box answers" in machine.wait_http(OTHERS[unit])
    assert list_failed(machine) <= failed


def assert_absent(machine: Machine, runtime: str, served: Served) -> None:
    """It is not listed, and does not run."""
    assert served.image not in machine.succeed(LIST[runtime]).split()
    machine.fail(RUN[runtime].format(served.image))


def assert_pulled(machine: Machine, runtime: str, served: Served) -> None:
    """A pull brings it, and it runs as it is."""
    machine.succeed(f"{PULL[runtime]} {served.image}")
    assert machine.succeed(RUN[runtime].format(served.image)).split()[0] == served.payload


@pytest.mark.parametrize("runtime", PULL)
def test_nothing_is_taken_from_a_registry_that_is_down_or_lies(up: Machine, serve: Serve, runtime: str) -> None:
    served = serve(f"registry-{runtime}")
    with nothing_else_happens(up):
        served.web.die()
        said = up.fail(f"{PULL[runtime]} {served.image}").stderr
        assert HOST in said
        served.web.revive()
        served.spoil()
        said = up.fail(f"{PULL[runtime]} {served.image}").stderr
        assert any(word in said for word in ("digest", "verification", "did not match")), said
        assert_absent(up, runtime, served)
        served.heal()
        assert_pulled(up, runtime, served)


@pytest.mark.parametrize("runtime", PULL)
def test_a_pull_into_a_full_disk_fails_and_disturbs_nobody(up: Machine, serve: Serve, runtime: str) -> None:
    served = serve(f"full-{runtime}")
    # Those that are root's alone as well.
    free, size = map(int, up.succeed("stat", "--file-system", "--format", "%f %S", "/var").split())
    with nothing_else_happens(up):
        # All but what it takes to note down whose the blocks are; then every block, and some given back.
        fill = (
            f"fallocate --length {free * size - (64 << 20)} /var/filler; dd if=/dev/zero of=/var/rest bs=1M status=none"
        )
        up.succeed("sh", "-c", f"{fill}; truncate --size=-{PAYLOAD // 2} /var/rest")
        said = up.fail(f"{PULL[runtime]} {served.image}").stderr
        assert "no space left" in said
        up.succeed("rm /var/filler /var/rest")
        assert_absent(up, runtime, served)
        assert_pulled(up, runtime, served)


# --- runtimes that are killed or restarted ---


KILLED = {
    "podman's container, and what watches it": ("systemctl kill --signal=KILL box.service", "box.service", 8080),
    "a pod": ("systemctl kill --signal=KILL pod.service", "pod.service", 8083),
    "containerd": ("systemctl kill --signal=KILL --kill-whom=main containerd.service", "store.service", 8082),
    "containerd, restarted": ("systemctl restart containerd.service", "store.service", 8082),
    "the Docker Engine": ("systemctl kill --signal=KILL --kill-whom=main docker.service", "shop.service", 8081),
    "the Docker Engine, restarted": ("systemctl restart docker.service", "shop.service", 8081),
}


@pytest.mark.parametrize("what", KILLED)
def test_containers_are_back_when_a_runtime_was_killed(up: Machine, what: str) -> None:
    command, unit, port = KILLED[what]
    up.succeed(f"systemctl start {unit}")
    assert "the box answers" in up.wait_http(port)
    before = up.unit(unit)["InvocationID"]
    others = [other for other in OTHERS if other != unit]
    with nothing_else_happens(up, others), Asker(up, port) as asker:
        asker.wait(3)
        up.succeed(command)
        if unit != "shop.service":  # which lives on, for the engine has no part in its running
            again = f"until now=$(systemctl show -P InvocationID {unit}) && [ $now ] && [ $now != {before} ]"
            up.succeed("sh", "-c", f"{again}; do sleep .1; done", within=20)
        up.wait_unit(unit)
        asker.wait(10)
    print(f"{what}: at most {asker.gap:.1f} s between two answers")
    up.succeed("docker version")


# --- power cuts ---


def test_what_was_half_pulled_when_the_power_was_cut_never_runs(up: Machine, serve: Serve) -> None:
    served = {runtime: serve(f"cut-{runtime}") for runtime in PULL}
    whole = {runtime: serve(f"whole-{runtime}") for runtime in PULL}
    for runtime, image in served.items():
        image.stall()
        up.succeed("systemd-run", "--quiet", f"--unit=pull-{runtime}", *PULL[runtime].split(), image.image)
    for image in served.values():
        while not image.web.asked(image.path):
            up.succeed("true")
    # As much of it as there is lies on the disk.
    up.succeed("sync")
    for runtime, image in whole.items():
        up.succeed(f"{PULL[runtime]} {image.image}")
    # The file system's journal is written out, and no data that nobody has asked for.
    up.succeed("dd if=/dev/zero of=/var/journal-is-written bs=4096 count=1 conv=fsync status=none")
    since = time.monotonic()
    up.power_cut()
    for unit, port in OTHERS.items():
        assert "the box answers" in up.wait_http(port)
        print(f"{unit}: answers {time.monotonic() - since:.1f} s after the power was back")
    up.wait_unit("multi-user.target")
    assert list_failed(up) == set()
    for runtime, image in served.items():
        assert_absent(up, runtime, image)
        image.heal()
        assert_pulled(up, runtime, image)
    for runtime, image in whole.items():
        listed = image.image in up.succeed(LIST[runtime]).split()
        run = up.run(RUN[runtime].format(image.image))
        print(
            f"{runtime}: pulled right before the power was cut: listed {listed}, {run.status} {run.stdout} {run.stderr}"
        )
        assert run.status != 0 or run.stdout.split()[0] == image.payload
