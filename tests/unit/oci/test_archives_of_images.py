"""Images of the world: archives of every kind, Docker's words for things, and which image of several is meant."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.errors import BuildError, InputError
from builder.core.store import Store
from builder.oci.check import list_variants
from builder.oci.image import CONFIG, INDEX, MANIFEST, make_digest
from builder.oci.layout import find_image, read_image
from tests.support.fuzz import empty_directory, examples, mutated
from tests.support.layouts import Layout, tar_of

pytestmark = pytest.mark.unit

DOCKER = "application/vnd.docker"
DOCKER_MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_LIST = f"{DOCKER}.distribution.manifest.list.v2+json"
DOCKER_CONFIG = f"{DOCKER}.container.image.v1+json"
DOCKER_LAYER = f"{DOCKER}.image.rootfs.diff.tar.gzip"
BASE, UPPER = tar_of(etc__a="1", etc__b="1"), tar_of(etc___wh_a="", new="2")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "layout"
    root.mkdir()
    return Layout(root)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def make_config(*layers: bytes, **more: Any) -> bytes:
    diff_ids = [make_digest(layer) for layer in layers]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return json.dumps(config | more).encode()


def write_tar(path: Path, *files: tuple[str, bytes | str]) -> Path:
    """An archive; a text is where a link leads."""
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def pack(layout: Path, path: Path, *more: tuple[str, bytes | str]) -> Path:
    files = [(str(f.relative_to(layout)), f.read_bytes()) for f in sorted(layout.rglob("*")) if f.is_file()]
    return write_tar(path, *files, *more)


def docker_archive(path: Path, *layers: bytes, **more: Any) -> Path:
    """What Docker before 25 saved: a directory for each layer, named by an ID of its own."""
    config = make_config(*layers, **more)
    entry = {"Config": "c.json", "RepoTags": ["web:2.5"], "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    files = [(f"{number}/layer.tar", layer) for number, layer in enumerate(layers)]
    return write_tar(path, *files, ("c.json", config), ("manifest.json", json.dumps([entry]).encode()))


def assert_is_the_image(source: Path, store: Store, **choice: str) -> None:
    image = read_image(source, store, architecture="amd64", name="web", **choice)
    assert sorted(path for path, node in image.tree.walk() if node.size) == ["/etc/b", "/new"]
    assert find_image(source, "amd64", **choice).manifest.digest == image.digest


def test_oci_archive_is_read_where_it_is(layout: Layout, store: Store, tmp_path: Path) -> None:
    layout.image([BASE, UPPER])
    assert_is_the_image(pack(layout.finish(), tmp_path / "web.tar"), store)


def test_archive_names_its_files_as_it_likes(layout: Layout, store: Store, tmp_path: Path) -> None:
    layout.image([BASE, UPPER])
    root = layout.finish()
    files = [(f"./{f.relative_to(root)}", f.read_bytes()) for f in sorted(root.rglob("*")) if f.is_file()]
    assert_is_the_image(write_tar(tmp_path / "web.tar", *files), store)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_docker_archive_of_old(store: Store, tmp_path: Path, compress: Any) -> None:
    config = make_config(BASE, UPPER)
    entry = {"Config": "c.json", "RepoTags": ["web:2.5"], "Layers": ["0/layer.tar", "1/layer.tar"]}
    source = write_tar(
        tmp_path / "web.tar",
        ("0/layer.tar", compress(BASE)),
        ("1/layer.tar", compress(UPPER)),
        ("c.json", config),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert_is_the_image(source, store)
    image = read_image(source, store, architecture="amd64", name="web")
    assert image.id == hashlib.sha256(config).hexdigest()
    assert image.names == ("localhost/web:2.5",)


def test_layers_of_a_docker_archive_may_be_links(store: Store, tmp_path: Path) -> None:
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["0/layer.tar", "1/layer.tar"]}
    source = write_tar(
        tmp_path / "web.tar",
        ("x/layer.tar", BASE),
        ("0/layer.tar", "../x/layer.tar"),
        ("1/layer.tar", "../x/layer.tar"),
        ("c.json", make_config(BASE, BASE)),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    assert len(read_image(source, store, architecture="amd64", name="web").layers) == 2


def test_docker_archive_of_today_is_a_layout_as_well(layout: Layout, store: Store, tmp_path: Path) -> None:
    layout.image([BASE, UPPER])
    source = pack(layout.finish(), tmp_path / "web.tar", ("manifest.json", b"not looked at"))
    assert_is_the_image(source, store)


def test_images_of_a_docker_archive_are_told_apart_by_their_tags(store: Store, tmp_path: Path) -> None:
    entries = [
        {"Config": "one.json", "RepoTags": ["web:1", "web:stable"], "Layers": ["base.tar"]},
        {"Config": "two.json", "RepoTags": ["docker.io/library/web:2"], "Layers": ["base.tar", "upper.tar"]},
    ]
    source = write_tar(
        tmp_path / "web.tar",
        ("base.tar", BASE),
        ("upper.tar", UPPER),
        ("one.json", make_config(BASE)),
        ("two.json", make_config(BASE, UPPER)),
        ("manifest.json", json.dumps(entries).encode()),
    )
    assert_is_the_image(source, store, tag="2")
    assert_is_the_image(source, store, tag="docker.io/library/web:2")
    assert find_image(source, "amd64", tag="stable").config == find_image(source, "amd64", tag="1").config
    with pytest.raises(InputError, match="has 2 images for linux/amd64, and nothing says which") as caught:
        find_image(source, "amd64")
    assert list(caught.value.details) == ["linux/amd64: web:1", "linux/amd64: docker.io/library/web:2"]
    with pytest.raises(InputError, match="no image for linux/amd64 with the tag 3"):
        find_image(source, "amd64", tag="3")


def test_docker_media_types_are_understood_and_the_manifest_stays(layout: Layout, store: Store) -> None:
    config = layout.blob(make_config(BASE, UPPER), DOCKER_CONFIG)
    layers = [layout.blob(gzip.compress(each, mtime=0), DOCKER_LAYER) for each in (BASE, UPPER)]
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers}
    manifest = layout.json(document, DOCKER_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    index = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [manifest]}
    layout.manifests = [layout.json(index, DOCKER_LIST)]
    root = layout.finish()
    assert_is_the_image(root, store)
    assert find_image(root, "amd64").manifest.digest == manifest["digest"]


def test_manifest_of_schema_1_is_refused(layout: Layout) -> None:
    layout.manifests = [layout.blob(b"{}", f"{DOCKER}.distribution.manifest.v1+prettyjws")]
    with pytest.raises(InputError) as caught:
        find_image(layout.finish(), "amd64")
    assert "old schema 1" in caught.value.details[0]


def test_images_for_other_machines_need_not_be_there(layout: Layout, store: Store) -> None:
    layout.image([BASE, UPPER], platform={"os": "linux", "architecture": "amd64"})
    missing = {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5}
    for platform in (
        {"os": "linux", "architecture": "s390x"},
        {"os": "windows", "architecture": "amd64"},
        {"os": "unknown", "architecture": "unknown"},
    ):
        layout.manifests.append(missing | {"platform": platform})
    inner = layout.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": layout.manifests}, INDEX)
    layout.manifests = [inner]
    root = layout.finish()
    assert_is_the_image(root, store)
    with pytest.raises(InputError, match="has no image for linux/riscv64") as caught:
        find_image(root, "riscv64")
    assert any(line.startswith("linux/s390x: sha256:000") for line in caught.value.details)


def test_image_is_found_by_its_digest_or_its_indexs_although_nothing_names_it(layout: Layout, store: Store) -> None:
    layout.image([BASE, UPPER], platform={"os": "linux", "architecture": "amd64"})
    (manifest,) = layout.manifests
    index = layout.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}, INDEX)
    layout.manifests = []
    root = layout.finish()
    for digest in (manifest["digest"], index["digest"]):
        assert_is_the_image(root, store, digest=digest)
    with pytest.raises(InputError):
        find_image(root, "amd64", digest="sha256:" + "0" * 64)
    with pytest.raises(InputError):
        find_image(root, "amd64", digest="sha256:../../etc/passwd")


def test_variants_that_a_machine_runs() -> None:
    assert list_variants("amd64") == ("", "v1")
    assert list_variants("arm64") == ("v8", "")


def test_the_best_variant_is_taken_and_none_that_needs_a_newer_machine(layout: Layout) -> None:
    def add(variant: str, text: str) -> None:
        layout.image(
            [tar_of(which=text)],
            change=lambda config, manifest: config.update(architecture="arm64", variant=variant),
            platform={"os": "linux", "architecture": "arm64", "variant": variant},
        )

    add("v9", "new")
    with pytest.raises(InputError, match="no image for linux/arm64") as caught:
        find_image(layout.finish(), "arm64")
    assert caught.value.details[0].startswith("linux/arm64/v9: ")
    add("v8", "right")
    assert str(find_image(layout.finish(), "arm64").platform) == "linux/arm64/v8"
    add("v8", "another")
    with pytest.raises(InputError, match="has 2 images for linux/arm64"):
        find_image(layout.finish(), "arm64")


def test_tags_of_one_image_are_one_image(layout: Layout, store: Store) -> None:
    layout.image([BASE, UPPER])
    (entry,) = layout.manifests
    layout.manifests = [
        entry | {"annotations": {"org.opencontainers.image.ref.name": name}} for name in ("1", "latest")
    ]
    assert_is_the_image(layout.finish(), store)
    assert_is_the_image(layout.root, store, tag="latest")


def test_layer_that_is_there_twice_is_read_once(layout: Layout, store: Store) -> None:
    layout.image([BASE, BASE, UPPER, BASE])
    image = read_image(layout.finish(), store, architecture="amd64", name="web")
    assert len(image.layers) == 4
    assert image.tree.read("/etc/a") == b"1"
    assert len(list((store.root / "packs").iterdir())) == 2


def test_decompression_bomb_is_refused_and_leaves_nothing(
    layout: Layout, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.oci.unpack.SMALL", 1 << 20)
    zeros = io.BytesIO()
    with tarfile.open(fileobj=zeros, mode="w") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 8 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    layout.image([zeros.getvalue()])
    with pytest.raises(BuildError, match="a decompression bomb"):
        read_image(layout.finish(), store, architecture="amd64", name="web")
    assert list((store.root / "packs").iterdir()) == []


WRONG = {
    "empty": (b"", "neither oci-layout and index.json nor manifest.json"),
    "text": (b"no tar at all" * 100, "is no archive of an image"),
    "compressed": (gzip.compress(BASE), "is compressed as a whole"),
    "another tar": (BASE, "neither oci-layout and index.json nor manifest.json"),
}


@pytest.mark.parametrize("name", WRONG)
def test_file_that_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    data, reason = WRONG[name]
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        find_image(path, "amd64")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no image at"):
        find_image(tmp_path / "nothing", "amd64")


def test_file_that_an_archive_has_twice_is_refused(layout: Layout, tmp_path: Path) -> None:
    layout.image([BASE])
    root = layout.finish()
    source = pack(root, tmp_path / "web.tar", ("index.json", b'{"schemaVersion": 2, "manifests": []}'))
    with pytest.raises(InputError, match=r"it has index\.json twice"):
        find_image(source, "amd64")


def test_archive_that_climbs_out_is_refused(layout: Layout, tmp_path: Path) -> None:
    layout.image([BASE])
    source = pack(layout.finish(), tmp_path / "web.tar", ("../x", b""))
    with pytest.raises(InputError, match=r"web\.tar: member \d+ '\.\./x': leaves the image"):
        find_image(source, "amd64")


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({}, "is no JSON list"),
        ([1], r"\[0\] must be an object"),
        ([{"Config": 1}], r"\[0\]\.Config must be the name of a file"),
        ([{"Config": "gone.json"}], "names 'gone.json', which is not there"),
        ([{"Config": "c.json", "Layers": "x"}], r"\[0\]\.Layers must be a list of texts"),
        ([{"Config": "c.json", "Layers": ["../../../etc/passwd"]}], "which is not there"),
        ([{"Config": "c.json", "Layers": [], "RepoTags": [1]}], r"\[0\]\.RepoTags must be a list of texts"),
        ([{"Config": "c.json"}] * 1001, "names 1001 images"),
    ],
)
def test_docker_archive_with_a_wrong_manifest_is_refused(tmp_path: Path, manifest: Any, reason: str) -> None:
    source = write_tar(
        tmp_path / "web.tar", ("c.json", make_config()), ("manifest.json", json.dumps(manifest).encode())
    )
    with pytest.raises(InputError, match=reason):
        find_image(source, "amd64")


def test_layer_of_a_docker_archive_must_be_what_the_configuration_says(store: Store, tmp_path: Path) -> None:
    entry = {"Config": "c.json", "Layers": ["layer.tar"]}
    source = write_tar(
        tmp_path / "web.tar",
        ("layer.tar", UPPER),
        ("c.json", make_config(BASE)),
        ("manifest.json", json.dumps([entry]).encode()),
    )
    with pytest.raises(BuildError, match="does not unpack to what the image's configuration promises"):
        read_image(source, store, architecture="amd64", name="web")


GOOD = json.dumps([{"Config": "c.json", "RepoTags": ["web:1"], "Layers": ["base.tar", "upper.tar"]}]).encode()


@examples(150)
@given(manifest=mutated(GOOD), config=mutated(make_config(BASE, UPPER)) | st.just(make_config(BASE, UPPER)))
def test_any_manifest_of_a_docker_archive_gives_an_image_or_an_error(
    tmp_path: Path, store: Store, manifest: bytes, config: bytes
) -> None:
    source = write_tar(
        tmp_path / "web.tar",
        ("base.tar", BASE),
        ("upper.tar", UPPER),
        ("c.json", config),
        ("manifest.json", manifest),
    )
    try:
        read_image(source, store, architecture="amd64", name="web")
    except BuildError:
        return


@examples(150)
@given(document=st.sampled_from(["oci-layout", "index.json", "manifest", "config"]), data=st.data())
def test_any_bytes_of_a_document_give_an_image_or_an_error(document: str, data: st.DataObject) -> None:
    with empty_directory() as root:
        layout = Layout(root)
        config = data.draw(mutated(make_config(BASE))) if document == "config" else make_config(BASE)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "config": layout.blob(config, CONFIG),
                "layers": [layout.blob(gzip.compress(BASE, mtime=0), DOCKER_LAYER)],
            }
        ).encode()
        if document == "manifest":
            manifest = data.draw(mutated(manifest))
        layout.manifests = [layout.blob(manifest, MANIFEST)]
        layout.finish()
        if document in ("oci-layout", "index.json"):
            (root / document).write_bytes(data.draw(mutated((root / document).read_bytes())))
        try:
            read_image(root, Store(root / "store"), architecture="amd64", name="web")
        except BuildError:
            return
