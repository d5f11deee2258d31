"""A container of a registry inside the image, beside one that is pulled at the first boot: seconds and bytes.

The same image, from the same registry on loopback. Preloaded: 'containers:' of the definition, built into the root.
Pulled: 'containers:' of the first-boot config, which is how machines of Fedora CoreOS and Flatcar come to theirs.
"""

from __future__ import annotations

import json
import random
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

from builder.build import BuildRequest, build_container, build_system
from builder.cli.machines import open_host
from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from tests.support.registry import ImageParts, RegistryServer
from vm.fakes import Fakes
from vm.fakes.web import WebServer
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

PAYLOAD = 24 << 20  # bytes that no compression makes smaller, so that the image has the size of a small service's
SERVER = """\
kind: container
name: web
version: "1"
packages: [busybox-static]
overlays: [payload]
entrypoint: [/usr/bin/busybox, httpd, -f, -p, "8080", -h, /usr/share]
ports: ["8080"]
"""
SYSTEM = "name: {name}\nversion: 1.0.0\nfeatures: [base, containers]\n"
PRELOADED = 'containers:\n  - {{name: web, image: "{image}", publish: ["8080:8080"]}}\n'
PULLED = """\
variant: buildos
version: 1.0.0
containers:
  - {{name: web, image: "{image}", ports: ["8080:8080"]}}
storage:
  files:
    - path: /etc/containers/registries.conf.d/50-bench.conf
      contents:
        inline: |
          [[registry]]
          location = "{host}"
          insecure = true
"""


def measure(work: Path, runs: int) -> None:
    """Build both systems, compare what they weigh, boot them in turns until the container answers."""
    store = Store.open()
    work.mkdir(parents=True)
    image = make_image(work, store)
    layers = sum(map(len, image.layers))
    with WebServer() as web:
        registry = RegistryServer(web)
        registry.add("web", "1", image)
        plain = build(work / "plain", SYSTEM.format(name="plain"), store)
        text = SYSTEM.format(name="preloaded") + PRELOADED.format(image=f"{registry.host}/web:1")
        preloaded = build(work / "preloaded", text, store)
        grown = measure_root(preloaded) - measure_root(plain)
        print("a container of a registry inside the image")
        print(f"  {'layers':<34} {layers / 1e6:7.2f} MB")
        print(f"  {'the image is larger by':<34} {grown / 1e6:7.2f} MB  {grown / layers:.2f} of the layers", flush=True)
        guest = f"{Fakes.HOST}:{web.port}"
        config = work / "pulled.yaml"
        config.write_text(PULLED.format(image=f"{guest}/web:1", host=guest))
        rows: dict[str, list[tuple[float, float]]] = {"preloaded": [], "pulled at the first boot": []}
        for _ in range(runs):
            rows["preloaded"].append(_boot(preloaded, None))
            rows["pulled at the first boot"].append(_boot(plain, config))
    print(f"from power-on to the container's first answer ({runs} runs)")
    for title, values in rows.items():
        wall, cpu = (statistics.median(each) for each in zip(*values, strict=True))
        print(f"  {title:<34} {wall:7.2f} s  {cpu:7.2f} CPU s", flush=True)


def make_image(work: Path, store: Store) -> ImageParts:
    payload = work / "overlays/payload/usr/share/payload"
    payload.parent.mkdir(parents=True)
    (payload.parent / "index.html").write_text("it answers\n")
    payload.write_bytes(random.Random(0).randbytes(PAYLOAD))
    (work / "web.yaml").write_text(SERVER)
    build_container(BuildRequest(work / "web.yaml", work / "web", store, QuietConsole()))
    with tarfile.open(work / "web/web.oci.tar") as archive:
        files = {each.name.rpartition("/")[2]: archive.extractfile(each) for each in archive if each.isfile()}
        blobs = {name: file.read() for name, file in files.items() if file is not None}
    manifest = blobs[json.loads(blobs["index.json"])["manifests"][0]["digest"][7:]]
    document = json.loads(manifest)
    config, *layers = (blobs[each["digest"][7:]] for each in (document["config"], *document["layers"]))
    return ImageParts(manifest, config, tuple(layers))


def build(directory: Path, text: str, store: Store) -> Path:
    directory.mkdir()
    (directory / "os.yaml").write_text(text)
    return build_system(BuildRequest(directory / "os.yaml", directory / "out", store, QuietConsole())).manifest


def measure_root(manifest: Path) -> int:
    """Bytes of the disk image that are used."""
    path, _ = read_image(manifest).choose_disk()
    return path.stat().st_blocks * 512


def _boot(manifest: Path, config: Path | None) -> tuple[float, float]:
    host = open_host(manifest, QuietConsole())
    with tempfile.TemporaryDirectory() as directory:
        folder = MachineFolder(Path(directory) / "vm")
        request = MachineRequest(config=config, memory=2048, restrict=config is None)
        spec = plan_machine(host.image, folder, host.verdict.accel, request)
        with Machine(
            spec, host.tools, host.make_deadline(300), folder=folder.root, store=host.store, probe=False
        ) as machine:
            started = time.monotonic()
            machine.wait_http(8080)
            return time.monotonic() - started, machine.cpu_seconds()
