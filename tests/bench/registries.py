"""Pull, push and copy beside skopeo and oras: the same images, Debian's docker-registry on loopback.

Everybody begins with nothing there: a repository without the blobs, an empty layout or store.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from builder.core.store import Store
from builder.core.tools import Tools
from tests.bench.measuring import Run, compare, measured_apart, show
from tests.support.debian_programs import open_programs
from tests.support.docker_registry import DockerRegistry, run_docker_registry
from tests.support.registry import CONFIG, LAYER, MANIFEST, describe

MIB = 1 << 20
# Layers of bytes that cannot be compressed, as layers of the world are.
IMAGES = {"5 MB": (2, 5 * MIB // 2), "500 MB in 12 layers": (12, 40 * MIB), "100 layers of 200 kB": (100, 200_000)}
WORDS = re.compile(rb'"(?:GET|HEAD|POST|PATCH|PUT) /v2/')


@dataclass(frozen=True)
class Peer:
    """A client: how it pushes a layout, pulls into one, and copies between registries."""

    name: str
    push: Callable[[Path, str], Run]
    pull: Callable[[str, Path], Run]
    copy: Callable[[str, str], Run]


def measure(work: Path, runs: int) -> None:
    """Print what each takes: seconds, CPU seconds, memory, and requests that the registry was asked."""
    work.mkdir(parents=True, exist_ok=True)
    store = Store.open()
    registry = open_programs(store, "base-files", "docker-registry")
    peers = [_ours(work), _skopeo(open_programs(store, "base-files", "skopeo"), work)]
    peers.append(_oras(open_programs(store, "base-files", "oras"), work))
    log = {"level": "error", "accesslog": {"disabled": False}}
    number = count()
    for title, (layers, size) in IMAGES.items():
        layout = _make_layout(work / f"image{next(number)}", layers, size)
        with (
            run_docker_registry(registry, work / f"from{next(number)}", log=log) as one,
            run_docker_registry(registry, work / f"to{next(number)}", log=log) as other,
        ):
            _measure_image(title, layout, one, other, peers, work, runs)
        for path in (*work.glob("from*"), *work.glob("to*"), layout):
            shutil.rmtree(path)


def _measure_image(
    title: str, layout: Path, one: DockerRegistry, other: DockerRegistry, peers: list[Peer], work: Path, runs: int
) -> None:
    times: dict[tuple[str, str], list[Run]] = {}
    asked: dict[tuple[str, str], int] = {}
    for turn in range(runs):
        for peer in peers:
            source = f"{one.host}/{peer.name}/{turn}:1"
            target = f"{other.host}/{peer.name}/{turn}:1"
            out = work / "pulled"
            steps: dict[str, Callable[[], Run]] = {
                "push": lambda peer=peer, source=source: peer.push(layout, source),  # type: ignore[misc]
                "pull": lambda peer=peer, source=source, out=out: peer.pull(source, out),  # type: ignore[misc]
                "copy": lambda peer=peer, source=source, target=target: peer.copy(source, target),  # type: ignore[misc]
            }
            for what, step in steps.items():
                before = _count_requests(one) + _count_requests(other)
                times.setdefault((what, peer.name), []).append(step())
                asked[what, peer.name] = _count_requests(one) + _count_requests(other) - before
            shutil.rmtree(out)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"registry, {title} ({runs} rounds; load now {load}): median, spread, CPU, largest process; requests")
    for what in ("push", "pull", "copy"):
        medians = {}
        for peer in peers:
            medians[peer.name] = show(f"{what}, {peer.name}", times[what, peer.name])
            print(f"    {asked[what, peer.name]} requests")
        for peer in peers[1:]:
            compare(f"{what}: {peer.name} / ours", medians[peer.name], medians["build-os"])


def _count_requests(registry: DockerRegistry) -> int:
    return len(WORDS.findall((registry.root.parent / "log").read_bytes()))


def _make_layout(out: Path, count: int, size: int) -> Path:
    """An image layout with as many layers of random bytes, always the same."""
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> bytes:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return data

    generator = random.Random(count * size)
    layers = [describe(put(generator.randbytes(size)), LAYER) for _ in range(count)]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    config = put(json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(config, CONFIG), "layers": layers}
    row = describe(put(json.dumps(manifest).encode()), MANIFEST, annotations={"org.opencontainers.image.ref.name": "1"})
    (out / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    (out / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return out


def _ours(work: Path) -> Peer:
    environment = {**os.environ, "BUILD_OS_CACHE": str(work / "pulled"), "HOME": str(work)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    for command in ("pull", "copy"):
        measured_apart([sys.executable, "-m", "builder", command, "--help"], environment)

    def run(*words: str) -> Run:
        return measured_apart([sys.executable, "-m", "builder", *words], environment)

    return Peer(
        "build-os",
        lambda layout, name: run("copy", f"oci:{layout}:1", name),
        lambda name, out: run("pull", "--platform", "linux/amd64", name),
        lambda source, target: run("copy", "--all", source, target),
    )


def _skopeo(tools: Tools, work: Path) -> Peer:
    def run(*words: str) -> Run:
        return _run(tools, work, "skopeo", "--insecure-policy", "copy", "-q", *words)

    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    return Peer(
        "skopeo",
        lambda layout, name: run(*plain, f"oci:{layout}:1", f"docker://{name}"),
        lambda name, out: run(*plain, f"docker://{name}", f"oci:{out}:1"),
        lambda source, target: run(*plain, "--all", f"docker://{source}", f"docker://{target}"),
    )


def _oras(tools: Tools, work: Path) -> Peer:
    def run(*words: str) -> Run:
        return _run(tools, work, "oras", "copy", "--no-tty", *words)

    return Peer(
        "oras",
        lambda layout, name: run("--from-oci-layout", "--to-plain-http", f"{layout}:1", name),
        lambda name, out: run("--from-plain-http", "--to-oci-layout", name, f"{out}:1"),
        lambda source, target: run("--from-plain-http", "--to-plain-http", source, target),
    )


def _run(tools: Tools, work: Path, *command: str) -> Run:
    return measured_apart(tools.make_argv(*command), tools.make_environment({"HOME": str(work)}))
