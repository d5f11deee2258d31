"""Images in the OS image: the files that podman's storage library expects, and the unit that runs one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.errors import InputError
from builder.oci.container_store import (
    CLOSED,
    STORE,
    install_image,
    make_overlay_diff,
    make_storage_conf,
    make_user_storage_conf,
)
from builder.oci.image import Image, ImageConfig, Layer, write_layout
from builder.stages.quadlet import make_quadlet, quote_argument
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, get_parent
from tests.support.drawn_trees import build_drawn_tree

pytestmark = pytest.mark.unit

IMAGE = "localhost/web@sha256:" + "b" * 64


def web_tree() -> Tree:
    tree = Tree()
    tree.put("/usr/bin/web", make_file("#!", 0o755, origin="package:web"))
    tree.put("/bin", make_symlink("usr/bin", origin="stage:x"))
    tree.put("/data", make_directory(0o700, origin="stage:x", uid=1000, gid=33))
    return tree


def make_image(tmp_path: Path, tree: Tree | None = None, version: str = "1.0.0") -> Image:
    out = tmp_path / f"layout-{len(list(tmp_path.iterdir()))}"
    return write_layout(tree or web_tree(), ImageConfig("amd64", "web", version), out)


def with_layer(image: Image, tree: Tree) -> Image:
    """The image with a second layer."""
    layer = Layer("t", "sha256:" + "2" * 64, 5, "sha256:" + "3" * 64, 10, tree)
    return Image(image.manifest + b" ", image.config + b" ", (*image.layers, layer), ("localhost/web:2",), 0)


# -- the store


def test_files_of_a_layer_are_in_its_diff_directory(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    system = Tree()
    install_image(system, image, name="web")
    layer = f"{STORE}/overlay/{image.layers[0].diff_id.removeprefix('sha256:')}"
    for path, node in image.tree.walk():
        put = system.require(f"{layer}/diff{path if path != '/' else ''}", follow=False)
        assert put.copy_with(origin=node.origin) == node
    link = system.read_text(f"{layer}/link")
    assert len(link) == 26
    assert system.resolve(f"{STORE}/overlay/l/{link}") == f"{layer}/diff"
    assert f"{layer}/lower" not in system


def test_all_that_is_put_names_the_container_as_its_origin(tmp_path: Path) -> None:
    system = Tree()
    before = {path for path, _ in system.walk()}
    install_image(system, make_image(tmp_path), name="web")
    assert {node.origin for path, node in system.walk() if path not in before} == {"container:web"}


def test_image_is_described_as_containers_storage_reads_it(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    system = Tree()
    install_image(system, image, name="web")
    (entry,) = json.loads(system.read(f"{STORE}/overlay-images/images.json"))
    assert entry["id"] == image.id
    assert entry["digest"] == image.digest
    assert entry["names"] == ["localhost/web:1.0.0"]
    assert entry["created"] == "1970-01-01T00:00:00Z"
    assert len(entry["big-data-names"]) == 3
    for key in entry["big-data-names"]:
        name = key if key == "manifest" else "=" + base64.b64encode(key.encode()).decode()
        data = system.read(f"{STORE}/overlay-images/{image.id}/{name}")
        assert entry["big-data-sizes"][key] == len(data)
        assert entry["big-data-digests"][key] == "sha256:" + hashlib.sha256(data).hexdigest()
    (layer,) = json.loads(system.read(f"{STORE}/overlay-layers/layers.json"))
    assert entry["layer"] == layer["id"]
    assert layer["diff-digest"] == image.layers[0].diff_id
    assert (layer["uidset"], layer["gidset"]) == ([0, 1000], [0, 33])


def test_locks_exist_since_nobody_can_make_them(tmp_path: Path) -> None:
    system = Tree()
    install_image(system, make_image(tmp_path), name="web")
    for lock in ("storage.lock", "overlay-images/images.lock", "overlay-layers/layers.lock"):
        assert system.require(f"{STORE}/{lock}").size == 0


def test_privileged_programs_of_containers_are_out_of_reach_of_users(tmp_path: Path) -> None:
    system = Tree()
    install_image(system, make_image(tmp_path), name="web")
    assert system.require(CLOSED).mode == 0o700
    assert STORE.startswith(f"{CLOSED}/")


def test_second_layer_knows_what_is_below_it(tmp_path: Path) -> None:
    base = make_image(tmp_path)
    upper = web_tree()
    upper.remove("/usr/bin/web")
    upper.put("/etc/new", make_file("n", origin="t"))
    image = with_layer(base, upper)
    system = Tree()
    install_image(system, image, name="web")
    first, second = json.loads(system.read(f"{STORE}/overlay-layers/layers.json"))
    assert second["parent"] == first["id"]
    # containers/image: SHA-256 of PARENT+DIFF_ID
    assert second["id"] == hashlib.sha256(f"{first['id']}+{'3' * 64}".encode()).hexdigest()
    lower = system.read_text(f"{STORE}/overlay/{second['id']}/lower")
    assert lower == "l/" + system.read_text(f"{STORE}/overlay/{first['id']}/link")
    whiteout = system.require(f"{STORE}/overlay/{second['id']}/diff/usr/bin/web")
    assert (whiteout.kind, whiteout.device) == (Kind.CHARACTER, (0, 0))
    assert system.list_children(f"{STORE}/overlay/{second['id']}/diff") == ["etc", "usr"]


def test_layers_that_images_share_are_stored_once_whatever_the_order(tmp_path: Path) -> None:
    base = make_image(tmp_path)
    upper = web_tree()
    upper.put("/x", make_file("", origin="t"))
    derived = with_layer(base, upper)
    trees = []
    for order in ((base, derived), (derived, base)):
        system = Tree()
        for image in order:
            install_image(system, image, name="web")
        trees.append(system)
    assert trees[0].compute_digest() == trees[1].compute_digest()
    assert len(json.loads(trees[0].read(f"{STORE}/overlay-layers/layers.json"))) == 2
    assert len(json.loads(trees[0].read(f"{STORE}/overlay-images/images.json"))) == 2


def test_installing_an_image_again_changes_nothing(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    system = Tree()
    install_image(system, image, name="web")
    before = system.compute_digest()
    install_image(system, image, name="web")
    assert system.compute_digest() == before


def test_two_images_with_one_name_are_refused(tmp_path: Path) -> None:
    system = Tree()
    install_image(system, make_image(tmp_path), name="web")
    other = web_tree()
    other.put("/x", make_file("", origin="t"))
    with pytest.raises(InputError, match=r"two containers have an image named localhost/web:1\.0\.0"):
        install_image(system, make_image(tmp_path, other), name="web")


@pytest.mark.parametrize("text", [make_storage_conf(), make_user_storage_conf()], ids=["root", "user"])
def test_storage_configuration_points_at_where_the_store_is_mounted(text: str) -> None:
    conf = tomllib.loads(text)
    assert conf["storage"]["driver"] == "overlay"
    mount = (Path(__file__).parents[3] / "units/containers/usr-share-containers-storage.mount").read_text()
    assert conf["storage"]["options"]["additionalimagestores"] == ["/usr/share/containers/storage"]
    assert f"\nWhat={STORE}\nWhere=/usr/share/containers/storage\n" in mount


# -- overlayfs


def overlaid(lower: Tree, diff: Tree) -> dict[str, Node]:
    """What overlayfs shows, by its documentation and independent of the code under test."""
    shown: dict[str, Node] = {}
    for path, node in sorted({**dict(lower.walk()), **dict(diff.walk())}.items()):
        parent = get_parent(path)
        if path != "/" and (parent not in shown or shown[parent].kind is not Kind.DIRECTORY):
            continue
        above = dict(diff.walk()).get(parent)
        in_upper = path in dict(diff.walk())
        parent_below = dict(lower.walk()).get(parent)
        merged = above is None or parent_below is None or parent_below.kind is Kind.DIRECTORY
        if not in_upper and not merged:
            continue
        if node.kind is Kind.CHARACTER and node.device == (0, 0):
            continue
        shown[path] = node
    return shown


NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "a/a/a", "b/a", "a/a/b", "c"])
NODES = st.sampled_from(
    [
        make_file("1", origin="t"),
        make_file("2", origin="t"),
        make_directory(0o700, origin="t"),
        make_directory(0o755, origin="t"),
        make_symlink("a", origin="t"),
    ]
)


@given(st.lists(st.tuples(NAMES, NODES), max_size=8), st.lists(st.tuples(NAMES, NODES), max_size=8))
def test_lower_with_the_difference_over_it_is_the_upper(
    below: list[tuple[str, Node]], above: list[tuple[str, Node]]
) -> None:
    lower, upper = build_drawn_tree(below), build_drawn_tree(above)
    assert overlaid(lower, make_overlay_diff(lower, upper)) == dict(upper.walk())


def test_parents_in_the_difference_keep_their_attributes() -> None:
    lower = Tree()
    lower.put("/tmp", make_directory(0o1777, origin="t"))
    upper = lower.copy()
    upper.put("/tmp/x", make_file("", origin="t"))
    assert make_overlay_diff(lower, upper).require("/tmp").mode == 0o1777


# -- the unit


def test_unit_runs_the_image_by_digest_and_pulls_nothing() -> None:
    text = make_quadlet("web", IMAGE, publish=("8080:80", "[::1]:53:53/udp"), command=("-m", "a b"))
    lines = text.splitlines()
    assert f"Image={IMAGE}" in lines
    assert "Pull=never" in lines
    # As with the other runtimes: a set-user-ID program gives nobody more.
    assert "NoNewPrivileges=true" in lines
    assert [line for line in lines if line.startswith("PublishPort=")] == [
        "PublishPort=8080:80/tcp",
        "PublishPort=[::1]:53:53/udp",
    ]
    assert 'Exec=-m "a b"' in lines
    assert "WantedBy=multi-user.target" in lines
    assert "WantedBy" not in make_quadlet("web", IMAGE, enable=False)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ('quo"te', r'"quo\"te"'),
        ("back\\slash", r'"back\\slash"'),
        ("$HOME", '"$$HOME"'),
        ("%n", "%%n"),
        ("two\nlines\r", r'"two\nlines\r"'),
        ("ü # ;", '"ü # ;"'),
    ],
)
def test_words_survive_the_unit_file_and_systemd(text: str, escaped: str) -> None:
    assert quote_argument(text) == escaped


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text and text != ";"))
def test_no_value_can_add_a_line_or_a_setting(text: str) -> None:
    lines = make_quadlet("web", IMAGE, command=(text,), environment={"A": text}).split("\n")
    assert len(lines) == len(make_quadlet("web", IMAGE, command=("x",), environment={"A": "x"}).split("\n"))
    (line,) = [line for line in lines if line.startswith("Exec=")]
    assert unquoted(line.removeprefix("Exec=")) == text


def unquoted(text: str) -> str:
    """systemd.syntax(7), then its specifiers and variables; independent of the code under test."""
    quoted = text[0] == text[-1] == '"'
    assert quoted or re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII)
    out, rest = "", text[1:-1] if quoted else text
    while rest:
        if rest.startswith("\\x"):
            out, rest = out + chr(int(rest[2:4], 16)), rest[4:]
        elif rest[0] == "\\":
            out, rest = out + {"n": "\n", "t": "\t", "r": "\r"}.get(rest[1], rest[1]), rest[2:]
        elif rest[0] in "%$":
            assert rest[1] == rest[0]
            out, rest = out + rest[0], rest[2:]
        else:
            assert rest[0] != '"'
            out, rest = out + rest[0], rest[1:]
    return out


@pytest.mark.parametrize("argument", ["", ";", "nul\0"])
def test_arguments_that_cannot_get_through_are_refused(argument: str) -> None:
    with pytest.raises(InputError, match="cannot be handed to"):
        make_quadlet("web", IMAGE, command=(argument,))


@pytest.mark.parametrize(
    ("name", "image", "publish", "environment"),
    [
        ("web\nExec=x", IMAGE, (), {}),
        ("web", "localhost/web:latest", (), {}),
        ("web", IMAGE + "\nExec=x", (), {}),
        ("web", IMAGE, ("80:80\nVolume=/:/host",), {}),
        ("web", IMAGE, ("70000:80",), {}),
        ("web", IMAGE, (), {"A B": "x"}),
        ("web", IMAGE, (), {"A\nB": "x"}),
    ],
)
def test_what_is_no_name_image_port_or_variable_is_refused(
    name: str, image: str, publish: tuple[str, ...], environment: dict[str, str]
) -> None:
    with pytest.raises(InputError):
        make_quadlet(name, image, publish=publish, environment=environment)
