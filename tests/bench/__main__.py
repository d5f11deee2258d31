"""How long a build and a boot take, and how large the results are. Medians; no test depends on them.

python -m tests.bench                 builds, their floor, and mkosi where it is installed; growth; boots
python -m tests.bench --runs 5 --only build --no-peer
python -m tests.bench --only boot-profile     where the instructions of a boot go, drawn into out/boot-profile
python -m tests.bench --only build-profile    where the CPU seconds of a cold build go, drawn into out/build-profile
python -m tests.bench --only firstboot        what a first boot costs; --only ignition: beside Debian's Ignition
python -m tests.bench --only config           what the provisioner adds to an image; 1,000 configs on the host
python -m tests.bench --only layers           what versions of a container share; layers unpacked, beside umoci
python -m tests.bench --only preloaded        a container inside the image, beside one that is pulled at the first boot
python -m tests.bench --only registries       pull, push and copy, beside skopeo and oras
python -m tests.bench --only probe            what a test's probe adds to a boot
python -m tests.bench --only runtimes         containers by each runtime: bytes, first answer, memory
python -m tests.bench --only scale            12 cells here and on workers; a second machine with a cache; 1,000 planned
python -m tests.bench --only shop             an app in Python: power-on to its first answer, memory, imports, one file
python -m tests.bench --only updates          a version to a machine, beside swupdate and systemd-sysupdate
python -m tests.bench --only wheels           wheels into an environment, beside uv and pip; what bytecode saves

Build-os, mkosi and the floor take turns, so that whatever else the machine does is there for each of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from builder.build import BuildRequest
from builder.build.system import plan_system
from builder.build.workspace import Workspace
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.debian.lock import Lock
from builder.definition.load import load
from builder.locking import make_lock_path
from builder.outputs.manifest import read_manifest
from tests.bench import (
    boot,
    boot_profile,
    build_profile,
    firstboot,
    floor,
    growth,
    ignition,
    layers,
    mkosi,
    preloaded,
    probe,
    registries,
    runtimes,
    scale,
    shop,
    small_machines,
    updates,
    wheels,
)
from tests.bench.measuring import Run, compare, measured, prepare_store, show

REPOSITORY = Path(__file__).parent.parent.parent


def builds(work: Path, runs: int, *, peer: bool) -> Path:
    """Cold, one file changed, nothing changed; in a copy of the repository's content and a store of its own."""
    for name in ("configs", "overlays", "units"):
        shutil.copytree(REPOSITORY / name, work / name, symlinks=True)
    os.environ["BUILD_OS_CACHE"] = str(prepare_store(work))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    definition, out = work / "configs" / "demo.yaml", work / "out"
    build = [sys.executable, "-m", "builder", "build", definition, "-o", out]
    changing = work / "overlays" / "base" / "etc" / "bench"
    manifest = out / "build.json"
    measured(build)  # downloads and tools
    lock = Lock.load(make_lock_path(definition))
    request = BuildRequest(definition, out, Store.open(), QuietConsole())
    resolved = load(definition).resolved
    plan = plan_system(Workspace(request, request.store), resolved, lock)
    least = floor.prepare(resolved, lock, Store.open(), manifest, plan.key, work)
    other = mkosi.prepare(work / "mkosi", tools_of(manifest), definition) if peer else None

    def cold() -> Run:
        measured([sys.executable, "-m", "builder", "cache", "clear", "--stages"])
        return measured(build)

    def one_file() -> Run:
        changing.parent.mkdir(exist_ok=True)
        changing.write_text(f"{time.time_ns()}\n")
        return measured(build)

    steps: dict[str, Callable[[], Run]] = {
        "cold, debs downloaded": cold,
        "one overlay file changed": one_file,
        "nothing changed": lambda: measured(build),
        "floor: xz of the debs": least.unxz,
        "floor: EROFS of the files": least.make_erofs,
    }
    if other is not None:
        steps["mkosi, cold"] = other.cold
        steps["mkosi, one file changed"] = lambda: other.one_file(f"{time.time_ns()}")
    rounds = [{title: step() for title, step in steps.items()} for _ in range(runs)]
    load_now = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"builds of configs/demo.yaml, {len(lock.packages)} packages ({runs} rounds; load now {load_now})")
    print("  median, spread, CPU, largest process")
    medians = {title: show(title, [each[title] for each in rounds]) for title in steps}
    print("ratios")
    both = medians["floor: xz of the debs"] + medians["floor: EROFS of the files"]
    compare("cold / floor", medians["cold, debs downloaded"], both)
    if other is not None:
        compare("mkosi / ours, cold", medians["mkosi, cold"], medians["cold, debs downloaded"])
        compare("mkosi / ours, one file", medians["mkosi, one file changed"], medians["one overlay file changed"])
    print("sizes")
    data = json.loads(manifest.read_text())
    for kind, artifact in data["artifacts"].items():
        path = out / artifact["path"]
        print(f"  {kind:<34} {artifact['size'] / 1e6:7.1f} MB, {path.stat().st_blocks * 512 / 1e6:.1f} MB on disk")
    if other is not None:
        other.show_sizes()
    print("where a build's seconds went")
    show_timings("after one file", manifest)
    cold()
    show_timings("cold", manifest)
    return manifest


def show_timings(title: str, manifest: Path) -> None:
    """Print the phases of the build that wrote this."""
    timings = json.loads(manifest.read_text())["timings"]
    for group in ("stages", "outputs"):
        for name, seconds in timings[group].items():
            print(f"  {title}: {group[:-1]} {name:<20} {seconds:7.2f} s")


def demo_manifest() -> Path:
    """The demo, built into the repository's ``out``."""
    out = REPOSITORY / "out"
    measured([sys.executable, "-m", "builder", "build", REPOSITORY / "configs/demo.yaml", "-o", out])
    return out / "build.json"


def tools_of(manifest: Path) -> Path:
    """The tools tree that a build used."""
    data = read_manifest(manifest)
    assert data is not None
    return Path(data["tools"])


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only",
        choices=(
            "build",
            "growth",
            "boot",
            "boot-profile",
            "build-profile",
            "config",
            "firstboot",
            "ignition",
            "layers",
            "preloaded",
            "probe",
            "registries",
            "runtimes",
            "scale",
            "shop",
            "small-machines",
            "updates",
            "wheels",
        ),
    )
    parser.add_argument("--no-peer", action="store_true", help="leave mkosi out, which takes most of the time")
    parser.add_argument("--peer", type=Path, metavar="RAW", help="for boots: mkosi's disk, if it is built already")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="build-os-bench-", ignore_cleanup_errors=True) as directory:
        if args.only in (None, "registries"):
            registries.measure(Path(directory) / "registries", args.runs)
        if args.only in (None, "updates"):
            updates.measure(Path(directory) / "updates", args.runs)
        if args.only in (None, "build-profile"):
            definition = REPOSITORY / "configs" / "demo.yaml"
            build_profile.measure(Path(directory) / "profile", definition, REPOSITORY / "out/build-profile")
        if args.only in ("registries", "updates", "build-profile"):
            return
        manifest = None
        if args.only in (None, "build"):
            manifest = builds(Path(directory), args.runs, peer=not args.no_peer)
        if args.only in (None, "wheels"):
            wheels.measure_wheels(args.runs)
        if args.only in (None, "shop"):
            shop.measure(Path(directory) / "shop", args.runs)
        if args.only in (None, "runtimes"):
            runtimes.measure(Path(directory) / "runtimes", args.runs)
        if args.only in (None, "scale"):
            scale.measure(Path(directory) / "scale", args.runs)
        if args.only in (None, "small-machines"):
            small_machines.measure(Path(directory) / "small-machines")
        if args.only in ("wheels", "shop", "runtimes", "scale", "small-machines"):
            return
        if manifest is None:
            manifest = demo_manifest()
        if args.only in (None, "growth"):
            growth.measure(tools_of(manifest), args.runs)
        if args.only in (None, "config"):
            firstboot.own_size(manifest)
            firstboot.parsing()
        if args.only in (None, "firstboot"):
            firstboot.measure(manifest, args.runs)
        if args.only in (None, "ignition"):
            ignition.measure()
        if args.only in (None, "layers"):
            layers.measure(Path(directory) / "layers", args.runs)
        if args.only in (None, "preloaded"):
            preloaded.measure(Path(directory) / "preloaded", args.runs)
        config = REPOSITORY / "configs" / "machines" / "demo.yaml"
        if args.only in (None, "boot"):
            peer = args.peer
            if peer is None and not args.no_peer:
                definition = REPOSITORY / "configs" / "demo.yaml"
                peer = mkosi.make_image(Path(directory) / "mkosi-boot", tools_of(manifest), definition)
            boot.measure(manifest, config, args.runs, peer)
        if args.only in (None, "boot-profile"):
            boot_profile.measure(manifest, REPOSITORY / "out/boot-profile")
        if args.only in (None, "probe"):
            probe.measure(manifest, config, args.runs)


if __name__ == "__main__":
    main()
