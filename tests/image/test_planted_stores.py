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
from builder.core import kept
from builder.core.console import QuietConsole
from builder.core.kept import KeptEntry, Section, describe_file, list_entries, seal_entry
from builder.core.store import Store
from builder.outputs.signing import KeyPair
from builder.stages.plan import load_snapshot
from builder.tree.node import make_file
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


def seal(entry: KeptEntry, **changed: object) -> None:
    """Seal an entry as if it had always been so."""
    facts = {"inputs": entry.inputs, "files": entry.files, "uses": entry.uses, "value": entry.value, **changed}
    entry.seal.unlink()
    seal_entry(entry.store, entry.section, entry.key, **facts)  # type: ignore[arg-type]


def entries(root: Path, section: Section) -> list[KeptEntry]:
    """All of a section."""
    return list(list_entries(Store(root), section))


def row(data: bytes) -> list[int | str]:
    return [len(data), hashlib.sha256(data).hexdigest()]


def plant_stage(root: Path) -> None:
    """The finished tree has a program more."""
    for entry in entries(root, kept.STAGES):
        tree = load_snapshot(entry.store, entry.key)
        tree.put("/usr/bin/planted", make_file("#!/bin/sh\n", 0o755, origin="package:bash"))
        write(entry.path.with_name(f"{entry.key}.tree"), tree.encode())
        seal(entry, files={**entry.files, f"{entry.key}.tree": row(tree.encode())})
    shutil.rmtree(root / "outputs")
    shutil.rmtree(root / "roots")


def plant_output(root: Path) -> None:
    """Every kept root, initrd and kernel image has a block more, and their seals say so."""
    for entry in entries(root, kept.OUTPUTS):
        files = {}
        for name in entry.files:
            path = entry.path.parent / name
            write(path, path.read_bytes() + b"!" * 4096)
            files[name] = row(path.read_bytes())
        seal(entry, files=files)
    for entry in entries(root, kept.ROOTS):
        for name in entry.files:
            path = entry.path.parent / name
            write(path, path.read_bytes() + b"!" * 4096)
        seal(entry, files={name: describe_file(f"{entry.path.parent}/{name}") for name in entry.files})


def plant_preset(root: Path) -> None:
    """One unit more starts."""
    for entry in entries(root, kept.PRESETS):
        seal(entry, value={**entry.value, "/etc/systemd/system/multi-user.target.wants/planted.service": "/dev/null"})
    for path in (
        *(root / "stages").glob("*.seal"),
        *(root / "outputs").glob("*.seal"),
        *(root / "roots").glob("*.seal"),
    ):
        path.unlink()


def plant_tools(root: Path) -> None:
    """A program of the tools does something else than it should; the seal of the tree is made for it."""
    (entry,) = entries(root, kept.TOOLS)
    program = entry.path / "usr/bin/zstd"
    program.rename(program.with_name("zstd.real"))
    program.write_text('#!/bin/bash\nexec /usr/bin/zstd.real "$@" -1\n')
    program.chmod(0o755)
    names = [f"{entry.key}/usr/bin/{name}" for name in ("zstd", "zstd.real")]
    seal(entry, files={**entry.files, **{name: describe_file(f"{entry.path.parent}/{name}") for name in names}})
    shutil.rmtree(root / "outputs")
    shutil.rmtree(root / "roots")


def plant_pack(root: Path) -> None:
    """A file of a deb has other bytes; size, time and hash are as they should be."""
    entry = next(e for e in entries(root, kept.PACKS) if e.value["control"]["Package"] == "base-files")
    tar = entry.path.with_name(f"{entry.key}.tar")
    status = tar.stat()
    content = tar.read_bytes().replace(b"Debian GNU/Linux", b"Debian GNU/Lunix")
    assert content != tar.read_bytes()
    write(tar, content)
    os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
    seal(entry, files={tar.name: row(content)})
    shutil.rmtree(root / "outputs")
    shutil.rmtree(root / "roots")


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
    for section in ("stages", "presets", "outputs", "roots", "packs", "tools"):
        shutil.rmtree(warm / section, ignore_errors=True)
        shutil.copytree(warm.parent / "copy" / section, warm / section, symlinks=True, copy_function=os.link)
    return warm


@pytest.mark.parametrize("what", PLANTS)
def test_an_ordinary_build_believes_its_store(demo: Path, planted: Path, tmp_path: Path, what: str) -> None:
    """Without this, the next test would say nothing: what is planted is planted well."""
    PLANTS[what](planted)
    assert built(tmp_path / "out", Store(planted)) != artifacts(demo)


def plant_everything(root: Path) -> None:
    """All of it, and a machine that never booted."""
    for plant in PLANTS.values():
        for section in ("outputs", "roots"):
            (root / section).mkdir(exist_ok=True)
        plant(root)
    machine = root / kept.MACHINES.name / ("0" * 64)
    machine.mkdir(parents=True, exist_ok=True)
    (machine / golden.SNAPSHOT_FILE).write_text('{"hello": null, "firstboot": []}')
    snapshot = f"{machine.name}/{golden.SNAPSHOT_FILE}"
    seal_entry(
        Store(root), kept.MACHINES, machine.name, files={snapshot: describe_file(str(machine / golden.SNAPSHOT_FILE))}
    )


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
