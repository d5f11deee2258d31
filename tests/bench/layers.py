"""Container images: what two versions share, and how fast layers become a tree, beside umoci."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from builder.core.store import Store
from tests.bench.measuring import Run, compare, measured, show
from tests.support.debian_programs import open_programs

PACKAGES = ("ca-certificates", "curl", "git", "openssl", "perl", "python3", "sqlite3", "vim-tiny")
# Each is the first version with one thing changed.
VERSIONS = {
    "a page of the overlay": ("", "goodbye", ""),
    "a small package more": ("jq", "hello", ""),
    "a source package less": ("", "hello", "sqlite3"),
}
READ = """
import sys
from pathlib import Path
from builder.core.store import Store
from builder.oci.layout import read_image
read_image(Path(sys.argv[1]), Store(Path(sys.argv[2])), architecture=sys.argv[3], name="bench")
"""


def measure(work: Path, runs: int) -> None:
    """Print both."""
    print("bytes that the next version of a container shares (8 packages with what they need, gzip)")
    first = _build(work, "first", "", "hello", "")
    blobs = _list_layers(first)
    total = sum(blobs.values())
    print(f"  {len(blobs)} layers, {total / 1e6:.1f} MB")
    for title, (more, page, less) in VERSIONS.items():
        for layers in ("grouped", "one"):
            one = first if layers == "grouped" else _build(work, "one", "", "hello", "", layers)
            other = _build(work, "other", more, page, less, layers)
            before, after = _list_layers(one), _list_layers(other)
            shared = sum(size for digest, size in after.items() if digest in before)
            new, size = sum(after.values()) - shared, sum(after.values())
            print(
                f"  {title + ', ' + layers:<34} {shared / size:7.1%} shared, {new / 1e6:.2f} MB of {size / 1e6:.1f} new"
            )
    _unpack(work, first, runs)


def _build(work: Path, name: str, more: str, page: str, less: str, layers: str = "grouped") -> Path:
    """The OCI archive of one version."""
    place = work / name
    (place / "overlays/pages/srv").mkdir(parents=True, exist_ok=True)
    (place / "overlays/pages/srv/index.html").write_text(page)
    packages = [each for each in PACKAGES if each != less] + ([more] if more else [])
    definition = place / f"{name}.yaml"
    definition.write_text(
        f"kind: container\nname: bench\nversion: 1.0.0\npackages: {json.dumps(packages)}\nessential: true\n"
        f"overlays: [pages]\ncommand: [/bin/sh]\nlayers: {layers}\ncompression: gzip\n"
    )
    measured([sys.executable, "-m", "builder", "build", definition, "-o", place / "out"])
    return place / "out/bench.oci.tar"


def _list_layers(archive: Path) -> dict[str, int]:
    with tarfile.open(archive) as tar:

        def read(name: str) -> dict[str, object]:
            file = tar.extractfile(name)
            assert file is not None
            found: dict[str, object] = json.load(file)
            return found

        index: dict[str, list[dict[str, str]]] = read("index.json")  # type: ignore[assignment]  # as we wrote it
        digest = index["manifests"][0]["digest"]
        rows: list[dict[str, object]] = read(f"blobs/{digest.replace(':', '/')}")["layers"]  # type: ignore[assignment]
        return {str(row["digest"]): int(str(row["size"])) for row in rows}


def _unpack(work: Path, archive: Path, runs: int) -> None:
    layout = work / "layout"
    layout.mkdir(parents=True)
    subprocess.run(["tar", "-C", layout, "-xf", archive], check=True)
    index = json.loads((layout / "index.json").read_text())
    tag = "bench"  # umoci takes no name with a slash
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (layout / "index.json").write_text(json.dumps(index))
    architecture = index["manifests"][0]["platform"]["architecture"]
    umoci = open_programs(Store.open(), "bash", "umoci")

    def ours() -> Run:
        shutil.rmtree(work / "store", ignore_errors=True)
        return measured([sys.executable, "-c", READ, layout, work / "store", architecture])

    def theirs() -> Run:
        shutil.rmtree(work / "bundle", ignore_errors=True)
        command = umoci.make_argv("umoci", "unpack", "--rootless", "--image", f"{layout}:{tag}", work / "bundle")
        return measured(command, umoci.make_environment())

    rounds = [(ours(), theirs()) for _ in range(runs)]
    print(f"layers of {sum(_list_layers(archive).values()) / 1e6:.0f} MB unpacked: into a tree, into a directory")
    mine = show("build-os, tree and store", [each for each, _ in rounds])
    other = show("umoci unpack --rootless", [each for _, each in rounds])
    compare("umoci / build-os", other, mine)
