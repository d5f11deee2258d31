"""Container images in and out beside the programs that everybody else uses for them."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.core.zstd import decompress_zstd, open_zstd
from builder.oci.check import validate_layout
from builder.oci.image import LAYER_ZSTD
from builder.oci.layout import read_image
from tests.support.debian_programs import open_programs
from tests.support.layouts import Layout, tar_of
from tests.support.oci_schemas import find_mistakes

pytestmark = pytest.mark.image


BOX = """
kind: container
name: box
version: 1.0.0
packages: [busybox-static]
entrypoint: [/usr/bin/busybox, sh, -c]
command: ["busybox id -u; busybox hostname; busybox grep NoNewPrivs /proc/self/status; echo kept >/kept; cat kept"]
environment: {PATH: /usr/bin}
outputs: [oci, bundle]
"""
SAYS = "0\nbox\nNoNewPrivs:\t1\nkept\n"
# A tree of cgroups as of today, whatever this machine has; in a mount namespace of the command's own.
CGROUPS = "mount -t cgroup2 none /sys/fs/cgroup"


@pytest.fixture(scope="module")
def programs(store: Store) -> Tools:
    """The other readers of images, and the runtimes."""
    return open_programs(store, "bash", "crun", "mount", "runc", "skopeo", "umoci", "util-linux")


@pytest.fixture(scope="module")
def box(tools: Tools, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with what the build of a small container left."""
    place = tmp_path_factory.mktemp("box")
    (place / "box.yaml").write_text(BOX)
    build_container(BuildRequest(place / "box.yaml", place / "out", store, QuietConsole()))
    return place / "out"


def run_in(programs: Tools, script: str, *, wrapper: Sequence[str] = ()) -> str:
    """What a shell script says that runs among the programs, as the caller or through what ``wrapper`` becomes."""
    argv = [*wrapper, *programs.make_argv("bash", "-ec", script)]
    done = subprocess.run(
        argv,
        env=programs.make_environment({"XDG_RUNTIME_DIR": "/tmp"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this machine does not let us become somebody else")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="a bundle with owners is for root")
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_bundle_runs_unchanged(programs: Tools, box: Path, tmp_path: Path, runtime: str) -> None:
    subprocess.run(["tar", "-C", tmp_path, "-xpf", box / "box.bundle.tar"], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    assert find_mistakes("runtime-config", config) == []
    said = run_in(programs, f"{CGROUPS}; {runtime} --root {tmp_path}/state run -b {tmp_path} box-{os.getpid()}")
    assert said == SAYS


def compress(tools: Tools, data: bytes, path: Path) -> bytes:
    with path.open("w+b") as out:
        with open_zstd(tools, out, level=3) as compressor:
            compressor.write(data)
        out.seek(0)
        return out.read()


def test_layers_in_zstd_are_read(tools: Tools, tmp_path: Path) -> None:
    base, upper = tar_of(etc__a="1" * 5000, etc__b="1"), tar_of(etc___wh_a="", new="2")
    layout = Layout(tmp_path / "layout")

    def spoil(config: dict[str, object], manifest: dict[str, object]) -> None:
        blobs = [compress(tools, each, tmp_path / "blob") for each in (base, upper)]
        manifest["layers"] = [layout.blob(blob, LAYER_ZSTD) for blob in blobs]

    layout.image([base, upper], change=spoil)
    root = layout.finish()
    assert validate_layout(root, tools) == []
    image = read_image(root, Store(tmp_path / "store"), architecture="amd64", name="web", tools=tools)
    assert "/etc/a" not in image.tree
    assert image.tree.read("/new") == b"2"


def test_zstd_in_several_frames_damaged_cut_short_and_given_up(tools: Tools, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20)
    frame = compress(tools, noise, tmp_path / "frame")
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00data"  # RFC 8878, section 3.1.2
    assert b"".join(decompress_zstd(tools, [frame, skippable, frame])) == noise + noise
    for damaged in (frame[:-5], frame[:1000] + b"x" + frame[1001:], frame + b"more", b"plain text, and no zstd"):
        with pytest.raises(ValueError, match=r"."):
            list(decompress_zstd(tools, io.BytesIO(damaged)))
    pieces = decompress_zstd(tools, [compress(tools, bytes(200 << 20), tmp_path / "zeros")])
    assert len(next(pieces)) > 0
    pieces.close()  # type: ignore[attr-defined]  # a generator
