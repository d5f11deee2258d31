"""Container images in and out beside the programs that everybody else uses for them."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from builder.artifacts.placed_artifact import ArchiveSelection
from builder.artifacts.unpack import ArchiveError, unpack_archive
from builder.build import BuildRequest, build_container
from builder.core.console import QuietConsole
from builder.core.errors import InputError, ToolError
from builder.core.pigz import open_gzip
from builder.core.store import Store
from builder.core.tools import Tools
from builder.core.zstd import decompress_zstd, open_zstd
from builder.oci.changeset import LayerPart, make_parts
from builder.oci.check import validate_layout
from builder.oci.grouping import group_by_change
from builder.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, MANIFEST, ImageConfig, make_digest, write_layers
from builder.oci.layout import read_image
from builder.tree.node import Kind, make_directory, make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.debian_programs import open_programs
from tests.support.layouts import Layout, tar_of
from tests.support.oci_schemas import find_mistakes, find_mistakes_of_layout
from tests.support.registry import RegistryServer
from tests.support.users import REPOSITORY, UID, become
from vm.fakes.web import WebServer

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


@pytest.mark.skipif(os.getuid() != 0, reason="becomes somebody else")
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_image_unpacked_by_an_ordinary_user_runs_under_that_user(programs: Tools, box: Path, runtime: str) -> None:
    # A directory that the user can reach, with a command that the user may read.
    with tempfile.TemporaryDirectory(prefix="build-os-bundle-") as name:
        place = Path(name)
        os.chown(place, UID, UID)
        archive = shutil.copy(box / "box.oci.tar", place)
        environment = {**os.environ, "HOME": name, "BUILD_OS_CACHE": f"{name}/store"}
        command = [sys.executable, "-m", "builder", "copy", f"oci-archive:{archive}", f"bundle:{place}/box"]
        argv = become("user", *command, shown=[place])
        done = subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 77:
            pytest.skip("this machine does not let us become somebody else")
        assert done.returncode == 0, done.stderr
        config = json.loads((place / "box/config.json").read_text())
        assert find_mistakes("runtime-config", config) == []
        assert {path.lstat().st_uid for path in (place / "box").rglob("*")} == {UID}
        # No group of cgroups is asked for, nor any other right: setpriv(1) takes them all.
        user = f"setpriv --reuid {UID} --regid {UID} --clear-groups --inh-caps=-all"
        said = run_in(
            programs, f"{CGROUPS}; {user} {runtime} --root {place}/state run -b {place}/box box-{os.getpid()}"
        )
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


def test_artifact_in_zstd_is_unpacked_where_it_can_do_nothing(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")

    def unpack(data: bytes) -> Tree:
        sha256 = store.add_bytes(data)
        return unpack_archive(
            store.locate_blob(sha256), sha256, ArchiveSelection(0, ()), store, tools, origin="artifact:x"
        )

    packed = compress(tools, tar_of(bin__tool="1" * 5000), tmp_path / "packed")
    started: list[str] = []
    start = Tools.start_in_empty_root

    def note(self: Tools, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        started.append(program)
        return start(self, program, *arguments)

    monkeypatch.setattr(Tools, "start_in_empty_root", note)
    assert unpack(packed).read("/bin/tool") == b"1" * 5000
    assert started == ["zstd"]
    # RFC 8878, section 3.1.1: a frame with a window of 2 GiB, and in it one block of a byte that is said 128 KiB times.
    window_bomb = b"\x28\xb5\x2f\xfd" + b"\x00\xa8" + ((128 << 10) << 3 | 2 | 1).to_bytes(3, "little") + b"x"
    for bad, why in (
        (window_bomb, "too much memory"),
        (packed[:-5], "premature end"),
        (packed + b"more", "unsupported format"),
    ):
        with pytest.raises(ArchiveError, match=f"(?i)^cannot be unpacked: .*{why}"):
            unpack(bad)
    zeros = compress(tools, bytes(64 << 20), tmp_path / "zeros")
    monkeypatch.setattr("builder.artifacts.unpack.MAX_UNPACKED", 1 << 20)
    with pytest.raises(ArchiveError, match="unpacks to more than 1048576 bytes"):
        unpack(zeros)
    assert not list((tmp_path / "store/packs").glob("artifact-*.data.*")), "nothing half-written is left"


@pytest.mark.parametrize(("program", "open_program"), [("pigz", open_gzip), ("zstd", open_zstd)])
def test_compressor_that_cannot_write_is_named(
    tools: Tools, program: str, open_program: Callable[..., AbstractContextManager[BinaryIO]]
) -> None:
    noise = random.Random(2).randbytes(8 << 20)
    with (
        Path("/dev/full").open("wb") as full,
        pytest.raises(ToolError, match=f"^{program} (?s:.*)No space left") as caught,
        open_program(tools, full, level=1) as out,
    ):
        out.write(noise)
    assert caught.value.hint == "is the disk full?"


def make_versions() -> tuple[Tree, Tree]:
    """A root with what is hard to write down, and the same after a change of every kind."""
    tree = Tree()
    tree.put("/etc/kept", make_file("kept", origin="package:one"))
    tree.put("/etc/removed", make_file("gone", origin="package:one"))
    tree.put("/usr/lib/dir/below", make_file("gone with it", origin="package:one"))
    tree.put("/usr/lib/becomes-file/x", make_file("x", origin="package:one"))
    tree.put("/usr/lib/becomes-directory", make_file("y", origin="package:one"))
    tree.put("/bin", make_symlink("usr/bin", origin="package:two"))
    tree.put("/long/" + "n" * 200 + "/" + "m" * 250, make_file("long", origin="package:two"))
    tree.put("/tmp", make_directory(0o1777, origin="package:two"))
    tree.put("/srv/ü", make_file(b"\0" * 5000, 0o600, origin="overlay:x", uid=1000, gid=2**31))
    # cap_net_raw, permitted and effective: VFS_CAP_REVISION_2 of linux/capability.h.
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    ping = make_file("ping", 0o755, origin="package:two")
    tree.put("/usr/bin/ping", ping.copy_with(xattrs=(("security.capability", capability), ("user.note", b"\0x"))))
    changed = tree.copy()
    for path in ("/etc/removed", "/usr/lib/dir", "/usr/lib/becomes-file", "/usr/lib/becomes-directory"):
        changed.remove(path)
    changed.put("/usr/lib/becomes-file", make_file("now", origin="package:one"))
    changed.put("/usr/lib/becomes-directory/y", make_file("now", origin="package:one"))
    changed.put("/etc/new", make_file("new", origin="overlay:x"))
    return tree, changed


@pytest.mark.parametrize("media_type", [LAYER, LAYER_GZIP, LAYER_ZSTD], ids=["plain", "gzip", "zstd"])
def test_other_readers_see_the_root_that_we_wrote(
    tools: Tools, programs: Tools, tmp_path: Path, media_type: str
) -> None:
    first, second = make_versions()
    groups = group_by_change(second, {"one": "one", "two": "two"})
    parts = [LayerPart("first", first, first), *make_parts(first, second, groups)]
    config = ImageConfig("amd64", "box", "1", ("/bin/x",), environment={"A": "b"}, labels={"l": "m"})
    for name in ("one", "two"):
        write_layers(parts, config, tmp_path / name, media_type, tools)
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")
    assert find_mistakes_of_layout(tmp_path / "one") == []
    assert validate_layout(tmp_path / "one", tools) == []
    image = read_image(tmp_path / "one", Store(tmp_path / "store"), architecture="amd64", name="box", tools=tools)
    assert image.tree.compute_digest() == second.compute_digest()
    # skopeo unpacks each layer, to compare it with the configuration, where the other place wants it so.
    run_in(
        programs,
        f"skopeo inspect oci:{tmp_path}/one >{tmp_path}/inspect.json; "
        f"skopeo --insecure-policy copy --quiet oci:{tmp_path}/one docker-archive:{tmp_path}/docker.tar:box:1; "
        f"skopeo --insecure-policy copy --quiet docker-archive:{tmp_path}/docker.tar oci:{tmp_path}/back:box",
    )
    seen = json.loads((tmp_path / "inspect.json").read_text())
    assert (seen["Os"], seen["Architecture"], len(seen["Layers"])) == ("linux", "amd64", len(parts))
    for source in (tmp_path / "docker.tar", tmp_path / "back"):
        there = read_image(source, Store(tmp_path / "store"), architecture="amd64", name="box", tools=tools)
        assert there.tree.compute_digest() == second.compute_digest()
        here, back = json.loads(image.config), json.loads(there.config)
        assert (back["config"], back["rootfs"]) == (here["config"], here["rootfs"])
    if media_type == LAYER_ZSTD:
        return  # umoci of Debian 13 does not know it
    index = json.loads((tmp_path / "one/index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "box"}
    (tmp_path / "one/index.json").write_text(json.dumps(index))
    rootless = "--rootless" if os.getuid() != 0 else ""
    run_in(programs, f"umoci unpack {rootless} --image {tmp_path}/one:box {tmp_path}/bundle")
    root = tmp_path / "bundle/rootfs"
    unpacked = {"/" + str(path.relative_to(root)): path for path in root.rglob("*")}
    expected = {path: node for path, node in second.walk() if path != "/"}
    assert unpacked.keys() == expected.keys()
    for path, node in expected.items():
        status = unpacked[path].lstat()
        if node.kind is not Kind.SYMLINK:
            assert status.st_mode & 0o7777 == node.mode, path
        if os.getuid() == 0:
            assert (status.st_uid, status.st_gid) == (node.uid, node.gid), path
            names = os.listxattr(unpacked[path], follow_symlinks=False)
            kept = {name: os.getxattr(unpacked[path], name, follow_symlinks=False) for name in names}
            assert {name: value for name, value in kept.items() if name != "user.rootlesscontainers"} == dict(
                node.xattrs
            )
        if node.kind is Kind.FILE:
            assert unpacked[path].read_bytes() == node.content.read(), path
    assert find_mistakes("runtime-config", json.loads((tmp_path / "bundle/config.json").read_text())) == []


def read_files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


APP = """
kind: container
name: app
version: 1.0.0
from: FROM
packages: [netbase, busybox-static]
command: ["busybox grep -c ^Package: /var/lib/dpkg/status; busybox grep -w '^ssh' /etc/services; echo $A"]
environment: {A: mine}
outputs: [oci, bundle]
"""


def read_archive(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def read_manifest(files: dict[str, bytes]) -> tuple[bytes, dict[str, Any]]:
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    data = files[f"blobs/{digest.replace(':', '/')}"]
    return data, json.loads(data)


@pytest.mark.parametrize("kind", ["archive", "definition", "registry"])
def test_container_is_made_on_an_image_whose_layers_stay(
    programs: Tools, box: Path, store: Store, tmp_path: Path, kind: str
) -> None:
    files = read_archive(box / "box.oci.tar")
    manifest, base = read_manifest(files)
    with WebServer() as web:
        registry = RegistryServer(web)
        blobs = {f"sha256:{name[13:]}": data for name, data in files.items() if name.startswith("blobs/sha256/")}
        registry.repository("team/box").blobs.update(blobs)
        registry.add_manifest("team/box", "1", manifest, base["mediaType"])
        (tmp_path / "box.yaml").write_text((box.parent / "box.yaml").read_text())
        (tmp_path / "box.oci.tar").write_bytes((box / "box.oci.tar").read_bytes())
        names = {
            "archive": "oci-archive:box.oci.tar",
            "definition": "box.yaml",
            "registry": f"{registry.host}/team/box:1",
        }
        (tmp_path / "app.yaml").write_text(APP.replace("FROM", names[kind]))
        build_container(BuildRequest(tmp_path / "app.yaml", tmp_path / "out", store, QuietConsole()))
    if kind != "definition":
        (locked,) = json.loads((tmp_path / "app.lock").read_text())["images"]
        assert (locked["name"], locked["digest"]) == ("container:app", make_digest(manifest))
        # Offline, and without the registry: the same bytes.
        again = BuildRequest(
            tmp_path / "app.yaml", tmp_path / "again", store, QuietConsole(), offline=True, relock=False
        )
        build_container(again)
        assert (tmp_path / "again/app.oci.tar").read_bytes() == (tmp_path / "out/app.oci.tar").read_bytes()
    assert "busybox-static" not in {
        each["name"] for each in json.loads((tmp_path / "app.lock").read_text())["packages"]
    }
    _, own = read_manifest(read_archive(tmp_path / "out/app.oci.tar"))
    assert own["layers"][: len(base["layers"])] == base["layers"]
    assert len(own["layers"]) > len(base["layers"])
    (tmp_path / "layout").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "layout", "-xf", tmp_path / "out/app.oci.tar"], check=True)
    assert find_mistakes_of_layout(tmp_path / "layout") == []
    run_in(programs, f"skopeo --insecure-policy copy --quiet oci:{tmp_path}/layout dir:{tmp_path}/dir")
    if os.getuid() == 0:
        (tmp_path / "bundle").mkdir()
        subprocess.run(["tar", "-C", tmp_path / "bundle", "-xpf", tmp_path / "out/app.bundle.tar"], check=True)
        said = run_in(programs, f"runc --root {tmp_path}/state run -b {tmp_path}/bundle app-{os.getpid()}-{kind}")
        assert said.split("\n")[0] == "2"
        assert said.split("\n")[-2] == "mine"


def test_packages_are_added_to_a_base_in_zstd_and_the_bill_tells_the_two_apart(
    tools: Tools, store: Store, tmp_path: Path
) -> None:
    record = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: amd64\n\n"
    files = {
        "etc__os-release": "ID=debian\nVERSION_ID=13\n",
        "var__lib__dpkg__status": record.format("libc6", "2.41-12") + record.format("base-files", "13.8"),
        "etc__noise": os.urandom(9).hex(),  # so that no earlier run has unpacked it
    }
    base = tar_of(**files)
    layout = Layout(tmp_path / "base")

    def pack(config: dict[str, object], manifest: dict[str, object]) -> None:
        manifest["layers"] = [layout.blob(compress(tools, base, tmp_path / "blob"), LAYER_ZSTD)]

    layout.image([base], change=pack)
    layout.finish()
    with WebServer() as web:
        registry = RegistryServer(web)
        blobs = {f"sha256:{path.name}": path.read_bytes() for path in (tmp_path / "base/blobs/sha256").iterdir()}
        registry.repository("team/base").blobs.update(blobs)
        made = registry.add_manifest("team/base", "1", blobs[layout.manifests[0]["digest"]], MANIFEST)
        name = f"{registry.host}/team/base:1"
        text = APP.replace("FROM", name).replace("outputs: [oci, bundle]", "outputs: [oci]")
        (tmp_path / "app.yaml").write_text(text)
        build_container(BuildRequest(tmp_path / "app.yaml", tmp_path / "out", store, QuietConsole()))
    lock = json.loads((tmp_path / "app.lock").read_text())
    assert {each["name"] for each in lock["packages"]} == {"busybox-static", "netbase"}
    _, own = read_manifest(read_archive(tmp_path / "out/app.oci.tar"))
    assert own["layers"][0]["mediaType"] == LAYER_ZSTD
    bill = json.loads((tmp_path / "out/app.cdx.json").read_text())
    marks = {
        each["name"]: [p["value"] for p in each.get("properties", ()) if p["name"] == "build-os:base"]
        for each in bill["components"]
    }
    assert marks["libc6"] == marks["base-files"] == [f"{name}@{made}"]
    assert marks["busybox-static"] == []


def test_packages_that_do_not_fit_to_the_base_are_refused(box: Path, store: Store, tmp_path: Path) -> None:
    root = Tree()
    status = "Package: libc6\nStatus: install ok installed\nVersion: 2.31-13\n"
    root.put("/var/lib/dpkg/status", make_file(status, origin="t"))
    alpine = Tree()
    alpine.put("/etc/os-release", make_file('ID=alpine\nPRETTY_NAME="Alpine Linux v3.20"\n', origin="t"))
    for name, tree in (("old", root), ("alpine", alpine)):
        write_layers([LayerPart("", tree, tree)], ImageConfig("amd64", name, "1", ("/x",)), tmp_path / name)
    definition = tmp_path / "app.yaml"
    text = "arch: amd64\n" + APP.replace("netbase, busybox-static", "jq")
    definition.write_text(text.replace("FROM", "oci:old"))
    with pytest.raises(InputError, match="do not fit to what the base has") as caught:
        build_container(BuildRequest(definition, tmp_path / "out", store, QuietConsole()))
    assert any("needs libc6 (>= 2.3" in line and "the base has 2.31-13" in line for line in caught.value.details)
    definition.write_text(text.replace("FROM", "oci:alpine"))
    with pytest.raises(
        InputError, match=r"is made from Alpine Linux v3\.20, to which packages of Debian cannot be added"
    ):
        build_container(BuildRequest(definition, tmp_path / "out", store, QuietConsole()))


def test_skopeo_believes_what_push_signed_and_nothing_else(programs: Tools, tmp_path: Path) -> None:
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "registries.d/all.yaml").write_text("default-docker: {use-sigstore-attachments: true}\n")
    key = ec.generate_private_key(ec.SECP256R1())
    for name, public in (("web", key.public_key()), ("other", ec.generate_private_key(ec.SECP256R1()).public_key())):
        (tmp_path / f"{name}.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        rule = {"type": "sigstoreSigned", "keyPath": f"{tmp_path}/{name}.pub"}
        policy = {"default": [rule | {"signedIdentity": {"type": "matchRepository"}}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(policy))
    (tmp_path / "web.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    layout = Layout(tmp_path / "layout")
    layout.image([tar_of(etc__a="1")])
    layout.finish()
    with WebServer() as web:
        name = f"{RegistryServer(web).host}/team/web:1"
        push = [sys.executable, "-m", "builder", "push", "--from", f"oci:{tmp_path}/layout", name]
        copy = (
            f"skopeo --registries.d {tmp_path}/registries.d --policy {tmp_path}/%s.json copy -q --src-tls-verify=false"
        )
        copy += f" docker://{name} dir:{tmp_path}/%s"
        environment = {**os.environ, "BUILD_OS_CACHE": str(tmp_path / "store")}
        subprocess.run(push, check=True, capture_output=True, env=environment)
        assert "skopeo refused" in run_in(programs, f"{copy % ('web', 'bare')} || echo skopeo refused")
        subprocess.run([*push, "--sign-key", tmp_path / "web.key"], check=True, capture_output=True, env=environment)
        assert "skopeo refused" in run_in(programs, f"{copy % ('other', 'other')} || echo skopeo refused")
        run_in(programs, copy % ("web", "signed"))
    assert (tmp_path / "signed/manifest.json").is_file()
    assert not (tmp_path / "other/manifest.json").exists()
