"""One machine with every runtime in one image, booted once, and a registry for it to pull from."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import booted, build_text
from vm.fakes import Fakes
from vm.fakes.registry import Registry
from vm.machine import Machine

REPOSITORY = Path(__file__).parents[3]
OUT = REPOSITORY / "out/boot-tests/runtimes"
HOST = "127.0.0.1:5000"
"""The registry, as the guest calls it: on loopback every runtime speaks HTTP to it."""
CRI_PORT = 9999
BOOTED: list[Machine] = []


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """After the last test here the machine is halted: an idle one takes a quarter of a processor from all others."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        for machine in BOOTED:
            if not machine.is_off:
                machine.pause()


# Beside what the page's definition says.
MORE = """\
  - {name: pause, definition: containers/pause.yaml, runtime: cri}
  - {name: worker, definition: containers/worker.yaml, runtime: systemd, publish: ["8084:80"]}
disk: {slot: 3G, size: 16G}
outputs: [qcow2]
"""
# As a shell for the tests: what looks into a container from within.
APPLETS = (
    *("cat", "echo", "env", "false", "grep", "hostname", "id", "ip", "kill", "ls", "mkdir", "mount", "nc"),
    *("nslookup", "ps", "sh", "sleep", "touch", "true", "wget"),
)
BOX = """\
kind: container
name: box
version: 1.0.0
packages: [busybox-static]
overlays: [box]
entrypoint: [/usr/bin/busybox, httpd, -f, -p, "8080", -h, /srv]
ports: ["8080"]
"""
# The same for a user whom the machine does not know, on a port that is root's elsewhere.
WORKER = BOX.replace("name: box", "name: worker").replace('"8080"', '"80"') + 'user: "4242:4242"\n'
# The next version of the same, which ends at once.
BROKEN = BOX.replace("name: box", "name: broken").replace('httpd, -f, -p, "8080", -h, /srv', '"false"')
CONFIG = """\
variant: buildos
version: 1.0.0
hostname: runtimes
passwd:
  users:
    - {name: core, uid: 1000, shell: /bin/bash}
storage:
  files:
    - path: /var/lib/systemd/linger/core
      contents: {inline: ""}
    # Whose ids podman gives to containers with UserNS=auto (containers-storage.conf(5), "root-auto-userns-user").
    - path: /etc/subuid
      append: [{inline: "containers:2147483647:2147483648\\n"}]
    - path: /etc/subgid
      append: [{inline: "containers:2147483647:2147483648\\n"}]
    - path: /etc/containers/registries.conf.d/50-test.conf
      contents:
        inline: |
          [[registry]]
          location = "127.0.0.1:5000"
          insecure = true
    - path: /etc/containerd/certs.d/127.0.0.1:5000/hosts.toml
      contents:
        inline: |
          [host."http://127.0.0.1:5000"]
          capabilities = ["pull", "resolve"]
systemd:
  units:
    - name: registry.socket
      enabled: true
      contents: |
        [Socket]
        ListenStream=127.0.0.1:5000
        [Install]
        WantedBy=sockets.target
    - name: registry.service
      contents: |
        [Service]
        ExecStart=/usr/lib/systemd/systemd-socket-proxyd HOST:PORT
    - name: cri-for-the-test.socket
      enabled: true
      contents: |
        [Socket]
        ListenStream=9999
        [Install]
        WantedBy=sockets.target
    - name: cri-for-the-test.service
      contents: |
        [Service]
        ExecStart=/usr/lib/systemd/systemd-socket-proxyd /run/containerd/containerd.sock
"""


def make_definition() -> str:
    """That of docs/containers.md, "Containers in the image", with the CRI and a box to look into."""
    page = (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")
    [text] = [block for block in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S) if "name: several\n" in block]
    for said, here in {
        "name: several": "name: runtimes",
        "docker, containerd": "docker, containerd, cri",
        "containers/web.yaml": "containers/box.yaml",
        "- name: web": "- name: box",
        '["8081:8080"]': '["8081:8080"]\n    enable: false',
    }.items():
        assert said in text
        text = text.replace(said, here)
    return text + MORE


@dataclass(frozen=True)
class Images:
    """Image layouts on the host: by the name of the container."""

    layouts: dict[str, Path]


def lay_out_sources(out: Path) -> None:
    """The definitions of the containers, below the directory of a system's."""
    shutil.copytree(REPOSITORY / "configs/containers", out / "containers", dirs_exist_ok=True)
    (out / "containers/box.yaml").write_text(BOX, encoding="utf-8")
    (out / "containers/worker.yaml").write_text(WORKER, encoding="utf-8")
    (out / "containers/broken.yaml").write_text(BROKEN, encoding="utf-8")
    binaries = out / "overlays/box/bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for applet in APPLETS:
        link = binaries / applet
        if not link.is_symlink():
            link.symlink_to("/usr/bin/busybox")
    (out / "overlays/box/srv").mkdir(exist_ok=True)
    (out / "overlays/box/srv/index.html").write_text("the box answers\n", encoding="utf-8")


@pytest.fixture(scope="session")
def images(store: Store) -> Images:
    """``box``, ``broken`` and ``pause``, assembled by build-os."""
    lay_out_sources(OUT)
    layouts = {}
    for name in ("box", "broken", "pause"):
        out = OUT / f"out-{name}"
        with closing(QuietConsole(out / "build.log")) as console:
            build_container(BuildRequest(OUT / f"containers/{name}.yaml", out, store, console))
        layouts[name] = out / "layout"
        shutil.rmtree(layouts[name], ignore_errors=True)
        with tarfile.open(out / f"{name}.oci.tar") as archive:
            archive.extractall(layouts[name], filter="data")
    return Images(layouts)


@pytest.fixture(scope="session")
def registry(images: Images, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry on the host's loopback that has the images as ``NAME:1.0.0``."""
    with Fakes(tools, tmp_path_factory.mktemp("registry")) as fakes:
        served = fakes.registry()
        for name, layout in images.layouts.items():
            served.add(name, "1.0.0", layout)
        yield served


@pytest.fixture(scope="session")
def machine(registry: Registry, store: Store) -> Iterator[Machine]:
    """The machine of all these tests."""
    config = OUT / "machine.yaml"
    config.write_text(CONFIG.replace("HOST:PORT", f"{Fakes.HOST}:{registry.web.port}"), encoding="utf-8")
    manifest = build_text(make_definition(), OUT, store)
    # Go programs under emulation on a busy machine: what systemd waits for takes its time.
    arguments = "systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600"
    options = {"config": config, "memory": 3072, "restrict": False, "boot": "kernel", "arguments": arguments}
    with booted(manifest, OUT / "machine", store, seconds=400, **options) as started:
        BOOTED.append(started)
        yield started
        BOOTED.remove(started)
