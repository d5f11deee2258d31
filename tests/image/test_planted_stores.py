"""A store that somebody else could write: every entry in it is whole, well sealed, and not what it says.

An ordinary build believes it, as docs/security.md says. What is signed, or built without the cache, has the right bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_system
from builder.core.console import QuietConsole
from builder.core.sealed import read_sealed, write_sealed
from builder.core.store import Store
from builder.debian.pack import INDEX
from builder.outputs.image import COMPLETE
from builder.outputs.signing import KeyPair
from builder.stages.plan import TREE, USES, load_snapshot
from builder.stages.units import LINKS
from builder.toolstree import LISTED, LISTING
from builder.tree.node import file
from vm.machine import golden

pytestmark = pytest.mark.image

DEMO = Path(__file__).parent.parent.parent / "configs" / "demo.yaml"
Plant = Callable[[Path], None]


def artifacts(manifest: Path) -> dict[str, str]:
    return {kind: artifact["sha256"] for kind, artifact in json.loads(manifest.read_text())["artifacts"].items()}


def built(out: Path, store: Store, key_pair: KeyPair | None = None, *, no_cache: bool = False) -> dict[str, str]:
    with closing(QuietConsole(out / "build.log")) as console:
        request = BuildRequest(DEMO, out, store, console, offline=True, key_pair=key_pair, no_cache=no_cache)
        return artifacts(build_system(request).manifest)


def write(path: Path, data: bytes) -> None:
    """Another file in its place: what is kept aside is the same file by another name."""
    path.unlink()
    path.write_bytes(data)


def plant_stage(root: Path) -> None:
    """The finished tree has a program more."""
    store = Store(root)
    for path in (root / "stages").glob("*.tree"):
        tree = load_snapshot(store, path.stem)
        tree.put("/usr/bin/planted", file("#!/bin/sh\n", 0o755, origin="package:bash"))
        write_sealed(path, TREE, tree.dumps())
        uses = path.with_suffix(".uses")
        known = {**json.loads(read_sealed(uses, USES) or b""), str(path): [path.stat().st_size]}
        write_sealed(uses, USES, json.dumps(known).encode())
    shutil.rmtree(root / "outputs")


def plant_output(root: Path) -> None:
    """Every kept root, initrd and kernel image has a block more, and their lists say so."""
    for directory in (root / "outputs").iterdir():
        names = [path for path in sorted(directory.iterdir()) if path.name not in (COMPLETE, "roothash")]
        for path in names:
            write(path, path.read_bytes() + b"!" * 4096)
        every = [path for path in sorted(directory.iterdir()) if path.name != COMPLETE]
        sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in every)
        write(directory / COMPLETE, sums.encode())


def plant_preset(root: Path) -> None:
    """One unit more starts."""
    for path in (root / "stages").glob("presets-*.json"):
        body = read_sealed(path, LINKS)
        assert body is not None
        links = {**json.loads(body), "/etc/systemd/system/multi-user.target.wants/planted.service": "/dev/null"}
        write_sealed(path, LINKS, json.dumps(links).encode())
    for path in (*(root / "stages").glob("*.uses"), *(root / "outputs").glob(f"*/{COMPLETE}")):
        path.unlink()


def plant_tools(root: Path) -> None:
    """A program of the tools does something else than it should; the list of the tree is made for it."""
    (tree,) = (path for path in (root / "tools").iterdir() if (path / LISTING).exists())
    program = tree / "usr/bin/zstd"
    program.rename(tree / "usr/bin/zstd.real")
    program.write_text('#!/bin/bash\nexec /usr/bin/zstd.real "$@" -1\n')
    program.chmod(0o755)
    body = read_sealed(tree / LISTING, LISTED)
    assert body is not None
    listing = json.loads(body)
    for name in ("zstd", "zstd.real"):
        status = (tree / "usr/bin" / name).lstat()
        listing[f"/usr/bin/{name}"] = [status.st_mode, status.st_size, status.st_mtime_ns]
    write_sealed(tree / LISTING, LISTED, json.dumps(listing).encode())
    shutil.rmtree(root / "outputs")


def plant_pack(root: Path) -> None:
    """A file of a deb has other bytes; size, time and hash are as they should be."""
    index = next(
        path
        for path in (root / "packs").glob("*.json")
        if json.loads(read_sealed(path, INDEX) or b"{}")["control"]["Package"] == "base-files"
    )
    data = json.loads(read_sealed(index, INDEX) or b"{}")
    tar = index.with_suffix(".tar")
    status = tar.stat()
    content = tar.read_bytes().replace(b"Debian GNU/Linux", b"Debian GNU/Lunix")
    assert content != tar.read_bytes()
    write(tar, content)
    os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
    data["tar_sha256"] = hashlib.sha256(content).hexdigest()
    write_sealed(index, INDEX, json.dumps(data).encode())
    shutil.rmtree(root / "outputs")


PLANTS: dict[str, Plant] = {
    "a stage": plant_stage,
    "an output": plant_output,
    "a preset": plant_preset,
    "the tools": plant_tools,
    "a pack": plant_pack,
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, store: Store, demo: Path) -> Iterator[Path]:
    """A store in which the demo was built honestly, kept aside as a copy."""
    assert demo.exists()
    place = tmp_path_factory.mktemp("planted")
    private = place / "store"
    private.mkdir()
    (private / "blobs").symlink_to(store.root / "blobs")
    built(place / "out", Store(private))
    shutil.copytree(private, place / "copy", symlinks=True, copy_function=os.link)
    yield private
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def planted(warm: Path) -> Path:
    """The store as it was built: snapshots name files by their path, so it stays where it is."""
    for room in ("stages", "outputs", "packs", "tools"):
        shutil.rmtree(warm / room, ignore_errors=True)
        shutil.copytree(warm.parent / "copy" / room, warm / room, symlinks=True, copy_function=os.link)
    return warm


@pytest.mark.parametrize("what", PLANTS)
def test_an_ordinary_build_believes_its_store(demo: Path, planted: Path, tmp_path: Path, what: str) -> None:
    """Without this, the next test would say nothing: what is planted is planted well."""
    PLANTS[what](planted)
    assert built(tmp_path / "out", Store(planted)) != artifacts(demo)


def plant_everything(root: Path) -> None:
    """All of it, and a machine that never booted."""
    for plant in PLANTS.values():
        (root / "outputs").mkdir(exist_ok=True)
        plant(root)
    machine = root / golden.ROOM / ("0" * 32)
    machine.mkdir(parents=True, exist_ok=True)
    (machine / golden.MEMENTO).write_text('{"hello": null, "firstboot": []}')


def test_what_is_signed_is_right_whatever_is_in_the_store(
    signed_demo: Path, key_pair: KeyPair, planted: Path, tmp_path: Path
) -> None:
    plant_everything(planted)
    assert built(tmp_path / "out", Store(planted), key_pair) == artifacts(signed_demo)
    tools = Path(json.loads((tmp_path / "out" / "build.json").read_text())["tools"])
    assert tools.parent == planted / "tools"
    assert list((planted / "scratch").iterdir()) == []


def test_without_the_cache_a_build_is_right_whatever_is_in_the_store(demo: Path, planted: Path, tmp_path: Path) -> None:
    plant_everything(planted)
    assert built(tmp_path / "out", Store(planted), no_cache=True) == artifacts(demo)


def test_what_lies_in_the_output_directory_is_not_taken_for_what_was_signed(
    signed_demo: Path, key_pair: KeyPair, planted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(signed_demo.parent, out)
    disk = out / json.loads(signed_demo.read_text())["artifacts"]["qcow2"]["path"]
    disk.write_bytes(disk.read_bytes()[:-1] + b"!")
    os.utime(disk, (1, 1))
    assert built(out, Store(planted), key_pair) == artifacts(signed_demo)
    assert hashlib.sha256(disk.read_bytes()).hexdigest() == artifacts(signed_demo)["qcow2"]
