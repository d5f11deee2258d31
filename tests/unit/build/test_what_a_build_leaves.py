"""What a system's build leaves in its output directory, and what a failure leaves.

Nothing is built for real here: the stages give a small tree, the programs and formats write a few bytes. Real builds
are compared in tests/image.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.build import inputs, system
from builder.build.request import BuildRequest
from builder.build.system import build_system
from builder.core.errors import CapabilityError, ToolError
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.lock import Lock, LockedPackage
from builder.definition.load import load
from builder.locking import hash_recipe
from builder.outputs import publish
from builder.outputs.manifest import Manifest, read_manifest
from builder.products.product import Part, Product
from builder.tree.tree import Tree
from tests.support.power import SyncedDisk

pytestmark = pytest.mark.unit

GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")
DEB = b"a deb"


@pytest.fixture
def system_request(tmp_path: Path, image: Tree, writing_tools: Tools, monkeypatch: pytest.MonkeyPatch) -> BuildRequest:
    """A definition that is locked, and a build of it whose stages give the small image."""
    monkeypatch.chdir(tmp_path)
    Path("os.yaml").write_text("name: mine\nversion: 1.0.0\narch: amd64\noutputs: [qcow2, raw]\n")
    resolved = load(Path("os.yaml")).resolved
    store = Store.open(tmp_path / "store")
    package = LockedPackage("a", "1", "amd64", store.add_bytes(DEB), len(DEB), "pool/a.deb", "a 1", "trixie")
    lock = Lock(
        recipe_sha256=hash_recipe(resolved), arch="amd64", suite="trixie", packages=(package,), tools=(package,)
    )
    lock.dump(Path("os.lock"))

    def make_products(
        products: Sequence[Product], parts: Mapping[Part, Path], directory: Path, *_: object
    ) -> dict[str, Path]:
        paths = {product.name: directory / f"mine.{product.name}" for product in products}
        for name, path in paths.items():
            path.write_text(f"{name} of {parts[Part.RAW].stat().st_size} bytes")
            path.chmod(0o600)
        return paths

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10**12))
    monkeypatch.setattr(inputs, "open_tools", lambda *_: writing_tools)
    monkeypatch.setattr(system, "run_plan", lambda *_: image.copy())
    monkeypatch.setattr(publish, "make_products", make_products)
    writing_tools.root.mkdir()
    return BuildRequest(Path("os.yaml"), Path("out"), store, writing_tools.console)


def visible(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if not path.name.startswith(".")}


def test_a_build_leaves_artifacts_that_are_described_and_nothing_else(system_request: BuildRequest) -> None:
    result = build_system(system_request)
    manifest = result.manifest
    assert manifest == Path("out/build.json")
    found = visible(system_request.out)
    del found["build.json"]
    assert found["mine.qcow2"].startswith("qcow2 of ")
    assert found["mine.raw"].startswith("raw of ")
    kinds = ("qcow2", "raw", "efi", "vmlinuz", "initrd", "cdx.json", "facts.json")
    assert found.keys() == {f"mine.{kind}" for kind in kinds}
    data = read_manifest(manifest)
    assert data is not None
    for artifact in data["artifacts"].values():
        content = (system_request.out / artifact["path"]).read_bytes()
        assert artifact["size"] == len(content)
        assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
        assert (system_request.out / artifact["path"]).stat().st_mode & 0o777 == 0o644
    assert data["lock_sha256"] == hashlib.sha256(Path("os.lock").read_bytes()).hexdigest()
    assert data["definition"] == str(Path("os.yaml").absolute())
    assert data["source_date_epoch"] == 0
    assert data["timings"]["outputs"].keys() == {"root", "initrd", "uki", "disk", "facts", "formats"}
    assert result.seconds > 0
    assert list((system_request.store.root / "scratch").iterdir()) == []
    assert read_image(manifest).choose_disk()[1] == "qcow2"


def test_an_output_directory_that_cannot_be_written_is_noticed_before_anything_is_built(
    system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*, dir: Path) -> object:
        if dir == system_request.out:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return io.BytesIO()

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(system, "run_plan", lambda *_: pytest.fail("it began to build"))
    with pytest.raises(CapabilityError, match="cannot write into out: Read-only file system"):
        build_system(system_request)


def test_a_build_with_nothing_to_do_has_its_tree_for_who_wants_to_draw_it(
    system_request: BuildRequest, image: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_system(system_request)
    monkeypatch.setattr(system, "load_snapshot", lambda *_: image)
    monkeypatch.setattr(system, "is_up_to_date", lambda *_: True)
    assert build_system(system_request).tree is None
    assert build_system(replace(system_request, with_tree=True)).tree is image


def test_a_power_cut_after_a_build_takes_nothing_from_it(
    system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    write = Manifest.write

    def require_durable(manifest: Manifest, path: Path) -> None:
        for artifact in manifest.artifacts.values():
            made = system_request.out / artifact.path
            assert disk.after_a_power_cut(made) == made.read_bytes(), "a manifest would name what may be lost"
        write(manifest, path)

    monkeypatch.setattr(Manifest, "write", require_durable)
    manifest = build_system(system_request).manifest
    assert disk.after_a_power_cut(manifest) == manifest.read_bytes()


def test_a_power_cut_after_the_lock_is_made_leaves_the_lock(
    system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SyncedDisk(monkeypatch)
    Lock.load(Path("os.lock")).dump(Path("other.lock"))
    assert disk.after_a_power_cut(Path("other.lock").absolute()) == Path("os.lock").read_bytes()
    assert build_system(system_request).manifest.exists()


@pytest.mark.parametrize("harm", ["mine.qcow2", "mine.efi", "build.json"])
def test_a_build_whose_files_are_gone_is_made_again(system_request: BuildRequest, harm: str) -> None:
    build_system(system_request)
    (system_request.out / harm).unlink()
    build_system(system_request)
    assert (system_request.out / harm).exists()


def test_a_failure_at_the_end_leaves_no_manifest_that_speaks_for_half_a_build(
    system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_system(system_request)
    Path("os.yaml").write_text(Path("os.yaml").read_text().replace("1.0.0", "2.0.0"))

    def fail(products: object, parts: object, directory: Path, *_: object) -> None:
        (directory / "half").write_text("x")
        raise ToolError("qemu-img failed with status 1")

    monkeypatch.setattr(publish, "make_products", fail)
    with pytest.raises(ToolError):
        build_system(system_request)
    assert "build.json" not in visible(system_request.out)
    assert [path.name for path in system_request.out.iterdir() if path.name.startswith(".new")] == []
    assert list((system_request.store.root / "scratch").iterdir()) == []


def test_what_a_killed_build_left_in_the_output_directory_is_swept(system_request: BuildRequest) -> None:
    (system_request.out / ".new-killed").mkdir(parents=True)
    (system_request.out / ".new-killed" / "mine.raw").write_text("half")
    build_system(system_request)
    assert not (system_request.out / ".new-killed").exists()


def test_warnings_of_the_definition_are_shown(system_request: BuildRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = replace(load(Path("os.yaml")), warnings=("os.yaml:1: odd",))
    monkeypatch.setattr(system, "load", lambda path, variation: loaded)
    said: list[str] = []
    monkeypatch.setattr(system_request.console, "warn", said.append)
    build_system(system_request)
    assert said == ["os.yaml:1: odd"]
