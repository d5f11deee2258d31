"""Trees become OCI image layouts that hold up to the image-spec; layouts that do not are told why."""

from __future__ import annotations

import copy
import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.errors import BuildError, InputError, SourceError
from builder.core.store import Store
from builder.oci import check as oci_check
from builder.oci.check import validate_layout
from builder.oci.image import (
    INDEX,
    LAYER,
    ImageConfig,
    assemble,
    make_canonical_json,
    make_digest,
    make_tag,
    write_archive,
    write_layout,
)
from builder.oci.layout import read_image
from builder.oci.media import Compression
from builder.oci.unpack import unpack_blob
from builder.tree.node import Inline, make_directory, make_file, make_symlink
from builder.tree.tar import write_tar
from builder.tree.tree import Tree
from tests.support.fuzz import empty_directory, examples
from tests.support.layouts import Layout, tar_of

pytestmark = pytest.mark.unit

WEB = ImageConfig(
    "amd64",
    "web",
    "1.0.0~rc1",
    entrypoint=("/usr/bin/python3", "-m", "http.server"),
    command=("8080",),
    environment={"LANG": "C.UTF-8", "A": "b c"},
    user="web",
    ports=("8080", "53/udp"),
    working_dir="/srv",
    labels={"org.example.note": "ü"},
    created=86400,
)


def small_tree() -> Tree:
    tree = Tree()
    tree.put("/etc/hostname", make_file("web\n", origin="t"))
    tree.put("/bin", make_symlink("usr/bin", origin="t"))
    tree.put("/tmp", make_directory(0o1777, origin="t"))
    return tree


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "layout"
    root.mkdir()
    return Layout(root)


# -- out


def test_layout_of_a_tree_has_no_problems(tmp_path: Path) -> None:
    write_layout(small_tree(), WEB, tmp_path)
    assert validate_layout(tmp_path) == []


def test_documents_say_what_the_definition_says(tmp_path: Path) -> None:
    image = write_layout(small_tree(), WEB, tmp_path)
    config = json.loads(image.config)
    assert config["config"] == {
        "User": "web",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "Env": ["A=b c", "LANG=C.UTF-8"],
        "Entrypoint": ["/usr/bin/python3", "-m", "http.server"],
        "Cmd": ["8080"],
        "WorkingDir": "/srv",
        "Labels": {"org.example.note": "ü"},
    }
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["created"] == config["history"][0]["created"] == "1970-01-02T00:00:00Z"
    index = json.loads((tmp_path / "index.json").read_text())
    (entry,) = index["manifests"]
    assert entry["digest"] == image.digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "localhost/web:1.0.0_rc1"}
    assert image.pinned == f"localhost/web@{image.digest}"
    manifest = json.loads(image.manifest)
    assert manifest["annotations"]["org.opencontainers.image.version"] == "1.0.0~rc1"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [LAYER]


def test_what_is_not_set_is_left_out(tmp_path: Path) -> None:
    image = write_layout(small_tree(), ImageConfig("arm64", "web", "1"), tmp_path)
    config = json.loads(image.config)
    assert config["config"] == {"WorkingDir": "/"}
    assert config["variant"] == "v8"
    assert validate_layout(tmp_path) == []


def test_same_tree_gives_the_same_archive(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        write_layout(small_tree(), WEB, tmp_path / name)
        out = io.BytesIO()
        write_archive(tmp_path / name, out)
        archives.append(out.getvalue())
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as archive:
        assert {"oci-layout", "index.json", "blobs/sha256"} <= set(archive.getnames())


def test_times_in_the_layer_are_clamped_to_the_images(tmp_path: Path) -> None:
    tree = small_tree()
    tree.change("/etc/hostname", mtime=10**9)
    image = write_layout(tree, WEB, tmp_path)
    with tarfile.open(tmp_path / "blobs" / image.layers[0].digest.replace(":", "/")) as archive:
        assert archive.getmember("etc/hostname").mtime == 86400


def test_our_own_layout_reads_back_as_the_same_tree(tmp_path: Path) -> None:
    image = write_layout(small_tree(), WEB, tmp_path / "layout")
    back = read_image(tmp_path / "layout", Store(tmp_path / "store"), architecture="amd64", name="web")
    assert back.tree.compute_digest() == small_tree().compute_digest()
    assert (back.manifest, back.config, back.names) == (image.manifest, image.config, image.names)
    assert back.created == 86400


def test_versions_become_tags_that_registries_take() -> None:
    assert make_tag("2026.1~rc1^git+3") == "2026.1_rc1_git_3"


def test_validator_is_not_fooled_by_a_changed_layer(tmp_path: Path) -> None:
    image = write_layout(small_tree(), WEB, tmp_path)
    blob = tmp_path / "blobs" / image.layers[0].digest.replace(":", "/")
    data = bytearray(blob.read_bytes())
    data[600] ^= 1
    blob.write_bytes(data)
    assert [problem.partition(": ")[2] for problem in validate_layout(tmp_path)] == [
        f"blobs/{image.layers[0].digest.replace(':', '/')} is not what its name says"
    ]


# -- in


def test_several_layers_are_laid_over_each_other(layout: Layout, tmp_path: Path) -> None:
    layout.image(
        [tar_of(etc__a="1", etc__b="1", srv__x="x"), tar_of(etc___wh_a="", etc__b="2"), tar_of(new="3")],
        annotations={"org.opencontainers.image.ref.name": "registry.example/web:2.5"},
    )
    root = layout.finish()
    assert validate_layout(root) == []
    image = read_image(root, Store(tmp_path / "store"), architecture="amd64", name="web")
    assert "/etc/a" not in image.tree
    assert (image.tree.read("/etc/b"), image.tree.read("/srv/x"), image.tree.read("/new")) == (
        b"2",
        b"x",
        b"3",
    )
    assert image.names == ("localhost/web:2.5",)
    assert "/etc/a" in image.layers[0].tree
    assert image.created == 1577833200


def test_layers_are_unpacked_once(layout: Layout, tmp_path: Path) -> None:
    layout.image([tar_of(a="1")])
    store = Store(tmp_path / "store")
    root = layout.finish()
    first = read_image(root, store, architecture="amd64", name="web")
    (pack,) = (store.root / "packs").iterdir()
    before = pack.stat().st_mtime_ns
    assert read_image(root, store, architecture="amd64", name="web").tree == first.tree
    assert pack.stat().st_mtime_ns == before


def swapped(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:512]),
        lambda path: path.write_bytes(b""),
        swapped,
    ],
    ids=["flipped", "cut", "emptied", "a link"],
)
def test_a_layer_that_was_damaged_in_the_store_is_unpacked_again(
    layout: Layout, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    layout.image([tar_of(a="1")])
    store = Store(tmp_path / "store")
    root = layout.finish()
    first = read_image(root, store, architecture="amd64", name="web")
    (pack,) = (store.root / "packs").iterdir()
    good = pack.read_bytes()
    harm(pack)
    again = read_image(root, store, architecture="amd64", name="web")
    assert again.tree.compute_digest() == first.tree.compute_digest()
    assert pack.read_bytes() == good
    assert not pack.is_symlink()


def test_image_for_the_machine_is_picked_from_an_index_in_the_index(layout: Layout, tmp_path: Path) -> None:
    layout.image([tar_of(a="amd")], platform={"os": "linux", "architecture": "amd64"})
    layout.image(
        [tar_of(a="arm")],
        change=lambda config, manifest: config.update(architecture="arm64"),
        platform={"os": "linux", "architecture": "arm64"},
    )
    inner = layout.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": layout.manifests}, INDEX)
    layout.manifests = [inner]
    root = layout.finish()
    store = Store(tmp_path / "store")
    assert read_image(root, store, architecture="arm64", name="web").tree.read("/a") == b"arm"
    with pytest.raises(InputError, match="has no image for linux/riscv64"):
        read_image(root, store, architecture="riscv64", name="web")


def test_two_images_for_one_machine_are_refused(layout: Layout, tmp_path: Path) -> None:
    layout.image([tar_of(a="1")])
    layout.image([tar_of(a="2")])
    with pytest.raises(InputError, match="has 2 images for linux/amd64"):
        read_image(layout.finish(), Store(tmp_path / "store"), architecture="amd64", name="web")


def test_layer_that_unpacks_to_something_else_is_no_authentic_source(layout: Layout, tmp_path: Path) -> None:
    layout.image(
        [tar_of(a="1")],
        change=lambda config, manifest: config["rootfs"].update(diff_ids=[make_digest(b"other")]),
    )
    root = layout.finish()
    assert any("unpacks to" in problem for problem in validate_layout(root))
    store = Store(tmp_path / "store")
    with pytest.raises(SourceError, match="does not unpack to what"):
        read_image(root, store, architecture="amd64", name="web")
    assert list((store.root / "packs").iterdir()) == []


def test_gzip_with_several_members_and_gzip_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(b"a" * 10) + gzip.compress(b"b" * 10)
    assert b"".join(unpack_blob(Inline(data), Compression.GZIP)) == b"a" * 10 + b"b" * 10
    bomb = Inline(gzip.compress(bytes(50 << 20)))
    with pytest.raises(ValueError, match=r"more than 1000000 bytes, over 2[0-9] times its size: a decompression bomb"):
        list(unpack_blob(bomb, Compression.GZIP, limit=1_000_000))
    for damaged in (data[:-5], data + b"x", b"", b"plain"):
        with pytest.raises(ValueError, match=r"."):
            list(unpack_blob(Inline(damaged), Compression.GZIP))


Spoil = Callable[[dict[str, Any], dict[str, Any]], None]


def spoil_config(**values: Any) -> Spoil:
    return lambda config, manifest: config.update(values)


def spoil_run(**values: Any) -> Spoil:
    return lambda config, manifest: config.update(config=values)


def spoil_manifest(**values: Any) -> Spoil:
    return lambda config, manifest: manifest.update(values)


def spoil_layer(**values: Any) -> Spoil:
    return lambda config, manifest: manifest["layers"][0].update(values)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "manifest that is an index too": (spoil_manifest(manifests=[]), "'manifests' does not belong"),
    "manifest that calls itself an index": (spoil_manifest(mediaType=INDEX), "referred to as"),
    "schema version 1": (spoil_manifest(schemaVersion=1), "schemaVersion must be 2"),
    "schema version true": (spoil_manifest(schemaVersion=2.0), "schemaVersion must be 2"),
    "layers spelt Layers": (spoil_manifest(Layers=[]), "must be spelt 'layers'"),
    "no layers": (spoil_manifest(layers=None), "layers must be a list"),
    "too many layers": (lambda c, m: m.update(layers=m["layers"] * 501), "500 are possible"),
    "annotations with numbers": (spoil_manifest(annotations={"a": 1}), "annotations must map"),
    "config that is no descriptor": (spoil_manifest(config="x"), "config must be a descriptor"),
    "digest with a path": (spoil_layer(digest="sha256:../../etc/passwd"), "is no digest"),
    "digest too short": (spoil_layer(digest="sha256:abc"), "must be sha256 or sha512"),
    "digest in upper case": (spoil_layer(digest="sha256:" + "A" * 64), "must be sha256 or sha512"),
    "digest of a missing blob": (spoil_layer(digest="sha256:" + "0" * 64), "is not there"),
    "unknown algorithm": (spoil_layer(digest="md5:" + "0" * 32), "must be sha256 or sha512"),
    "wrong size": (spoil_layer(size=1), "bytes, not 1"),
    "negative size": (spoil_layer(size=-1), "must be a number of bytes"),
    "size 2^63": (spoil_layer(size=2**63), "must be a number of bytes"),
    "size as text": (spoil_layer(size="5"), "must be a number of bytes"),
    "media type without slash": (spoil_layer(mediaType="tar"), "no media type"),
    "layer in xz": (spoil_layer(mediaType=LAYER + "+xz"), "is not supported"),
    "layer that is not distributed": (
        spoil_layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        "may not be distributed",
    ),
    "layer that Docker calls foreign": (
        spoil_layer(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        "may not be distributed",
    ),
    "10,000 layers": (lambda c, m: m.update(layers=m["layers"] * 10_000), "500 are possible"),
    "data that is other data": (spoil_layer(data="YWJj"), "data is not what the digest says"),
    "data that is no base64": (spoil_layer(data="%"), "no base64"),
    "urls as text": (spoil_layer(urls="x"), "urls must be a list"),
    "no architecture": (spoil_config(architecture=None), "architecture must be text"),
    "no os": (spoil_config(os=7), "os must be text"),
    "time without zone": (spoil_config(created="2020-01-01T00:00:00"), "created must be a time"),
    "time that is none": (spoil_config(created="yesterday"), "created must be a time"),
    "rootfs of another type": (spoil_config(rootfs={"type": "x"}), "rootfs.type"),
    "layers and diff IDs that differ in number": (
        spoil_config(rootfs={"type": "layers", "diff_ids": []}),
        "0 entries for 1 layers",
    ),
    "history of other layers": (spoil_config(history=[{}, {}]), "history speaks of 2 layers"),
    "history that is no list": (spoil_config(history={}), "history must be"),
    "empty_layer as text": (spoil_config(history=[{"empty_layer": "no"}]), "must be true or false"),
    "environment without =": (spoil_run(Env=["A"]), "Env must have entries"),
    "entrypoint as text": (spoil_run(Entrypoint="/bin/sh"), "config.Entrypoint must be a list"),
    "user as number": (spoil_run(User=0), "config.User must be text"),
    "ports as list": (spoil_run(ExposedPorts=["80"]), "must map to empty objects"),
    "port that is none": (spoil_run(ExposedPorts={"http": {}}), "keys like 8080/tcp"),
    "labels as list": (spoil_run(Labels=["a"]), "Labels must map"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_image_is_refused_and_the_reason_named(layout: Layout, tmp_path: Path, name: str) -> None:
    spoil, reason = SPOILT[name]
    layout.image([tar_of(a="1")], change=spoil)
    root = layout.finish()
    problems = validate_layout(root)
    assert any(reason in problem for problem in problems), problems
    with pytest.raises(InputError, match="is no OCI image layout"):
        read_image(root, Store(tmp_path / "store"), architecture="amd64", name="web")


def test_blob_that_is_a_link_is_refused(layout: Layout) -> None:
    layout.image([tar_of(a="1")])
    root = layout.finish()
    blob = root / "blobs" / layout.manifests[0]["digest"].replace(":", "/")
    shutil.move(blob, root / "elsewhere")
    blob.symlink_to(root / "elsewhere")
    assert any("no regular file" in problem for problem in validate_layout(root))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schemaVersion": 2, "manifests": [], "manifests": []}', "a key is there twice"),
        ('{"schemaVersion": 2, "manifests": [], "layers": []}', "'layers' does not belong"),
        ('{"schemaVersion": NaN}', "NaN is no JSON"),
        ("[]", "is no JSON object"),
        ("[" * 100_000, "is no JSON that everybody reads alike"),
        ("", "is no JSON"),
        ('{"schemaVersion": 2, "manifests": [' + "1," * 3_000_000 + "1]}", "is larger than"),
        (f'{{"schemaVersion": {"9" * 5000}}}', "is no JSON"),
    ],
)
def test_index_that_readers_could_take_differently_is_refused(layout: Layout, text: str, reason: str) -> None:
    layout.finish()
    (layout.root / "index.json").write_text(text)
    assert any(reason in problem for problem in validate_layout(layout.root))


def test_empty_directory_is_no_layout(tmp_path: Path) -> None:
    assert validate_layout(tmp_path) == [
        "index.json: there is no such regular file",
        "oci-layout: there is no such regular file",
    ]


def test_artifacts_that_are_no_images_are_left_alone(layout: Layout) -> None:
    layout.image([tar_of(a="1")])
    layout.image([], change=lambda c, m: m.update(config=layout.blob(b"{}", "application/vnd.example+json")))
    layout.manifests.append(layout.blob(b"?", "application/vnd.example.thing"))
    assert validate_layout(layout.finish()) == []


def test_index_in_an_index_without_end_is_refused(layout: Layout) -> None:
    for _ in range(oci_check.MAX_NESTING + 2):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": layout.manifests}
        layout.manifests = [layout.json(document, INDEX)]
    assert any("nested too deep" in problem for problem in validate_layout(layout.finish()))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("sha256:" + "0" * 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@examples(200)
@given(
    key=st.sampled_from(["config", "layers", "rootfs", "history", "created", "mediaType", "annotations", "os"]),
    value=JSON_VALUES,
    where=st.integers(0, 2),
)
def test_any_value_anywhere_gives_problems_or_an_image(key: str, value: object, where: int) -> None:
    with empty_directory() as root:
        layout = Layout(root)
        layout.image(
            [tar_of(a="1")],
            change=lambda config, manifest: (
                (config, manifest)[where].update({key: copy.copy(value)}) if where < 2 else None
            ),
        )
        layout.finish(**({key: value} if where == 2 else {}))
        problems = validate_layout(root)
        try:
            read_image(root, Store(root / "store"), architecture="amd64", name="web")
        except BuildError:
            return
        assert problems == []


def test_canonical_json_has_one_form() -> None:
    assert make_canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()


def test_tar_writers_size_is_the_diff_size(tmp_path: Path) -> None:
    image = write_layout(small_tree(), WEB, tmp_path)
    assert image.layers[0].diff_size == write_tar(small_tree(), io.BytesIO())


def test_image_is_the_same_whether_it_is_written_or_not(tmp_path: Path) -> None:
    assert assemble(small_tree(), WEB) == write_layout(small_tree(), WEB, tmp_path)
