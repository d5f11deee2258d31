"""Extensions of real packages, as images: what they have, what they say of themselves, and who signed them."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.build import BuildRequest, BuildResult, build_extension, build_system
from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.outputs.ddi import Ddi, make_ddi
from builder.outputs.signing import Signer, make_key_pair
from builder.report.sizes import measure_sizes
from builder.tree.node import Kind
from builder.tree.tree import Tree
from tests.support.command import run_command
from update.gpt import HEAD, Partition, parse_gpt

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.core.tools import Tools
    from builder.outputs.signing import KeyPair

pytestmark = pytest.mark.image

SYSTEM = "name: extended\nversion: 1.0.0\nfeatures: [base, extensions]\noutputs: [update]\n"
EXTENSION = "kind: extension\nname: look\nof: os.yaml\ndescription: To look at a network.\npackages: [tcpdump]\n"
RELEASE = "/usr/lib/extension-release.d/extension-release.look_1.0.0"


def build(definition: Path, out: Path, store: Store) -> BuildResult:
    out.mkdir(parents=True, exist_ok=True)
    with closing(QuietConsole(out / "build.log")) as console:
        request = BuildRequest(definition, out, store, console, with_tree=True)
        return (build_system if definition.name == "os.yaml" else build_extension)(request)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("extended")
    (directory / "os.yaml").write_text(SYSTEM)
    (directory / "look.yaml").write_text(EXTENSION)
    return directory


@pytest.fixture(scope="module")
def system(room: Path, store: Store) -> Tree:
    tree = build(room / "os.yaml", room / "out", store).tree
    assert tree is not None
    return tree


@pytest.fixture(scope="module")
def extension(room: Path, system: Tree, store: Store) -> BuildResult:
    return build(room / "look.yaml", room / "out/look", store)


def read_manifest(result: BuildResult) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(result.manifest.read_text())
    return data


def test_it_has_nothing_that_the_system_has_and_all_that_its_program_needs(
    system: Tree, extension: BuildResult
) -> None:
    tree = extension.tree
    assert tree is not None
    files = {path for path, node in tree.walk() if node.kind is not Kind.DIRECTORY}
    assert [path for path in sorted(files) if system.get(path) is not None] == []
    assert {"/usr/bin/tcpdump", "/usr/lib/x86_64-linux-gnu/libpcap.so.0.8", RELEASE} <= files
    assert {path.split("/")[1] for path in files} == {"usr"}
    level = next(line for line in tree.read_text(RELEASE).splitlines() if line.startswith("SYSEXT_LEVEL="))
    assert level in system.read_text("/usr/lib/os-release").splitlines()
    assert "u tcpdump - " in tree.read_text("/usr/lib/sysusers.d/look-extension.conf")


def test_its_bill_lists_what_it_brings_and_not_what_the_system_has(room: Path, extension: BuildResult) -> None:
    bill = json.loads((room / "out/look/look_1.0.0.cdx.json").read_text())
    names = {component["name"] for component in bill["components"]}
    assert {"tcpdump", "libpcap0.8t64"} <= names
    assert not names & {"libc6", "systemd"}
    assert bill["metadata"]["component"]["name"] == "look"
    assert read_manifest(extension)["extends"]["type"] == "sysext"


def test_it_is_made_for_one_build_of_the_system(room: Path, extension: BuildResult) -> None:
    built = json.loads((room / "out/build.json").read_text())
    assert read_manifest(extension)["extends"]["tree"] == built["tree"]


@pytest.fixture(scope="module")
def signed(extension: BuildResult, tools: Tools, key_pair: KeyPair, room: Path) -> tuple[Path, str]:
    """The same content, signed, written twice: the image and its root hash."""
    assert extension.tree is not None
    images = []
    for name in ("one", "two"):
        scratch = room / name
        scratch.mkdir()
        ddi = Ddi("look_1.0.0", "amd64", "lz4")
        signer = Signer(key_pair, 0)
        root = make_ddi(extension.tree, ddi, tools, scratch, scratch / "look.raw", signer)
        images.append((scratch / "look.raw", root.roothash))
    assert images[0][0].read_bytes() == images[1][0].read_bytes()
    return images[0]


def read_partitions(image: Path) -> dict[str, Partition]:
    with image.open("rb") as file:
        return {partition.type: partition for partition in parse_gpt(file.read(HEAD))}


def test_every_block_of_it_is_under_a_signed_root_hash(
    signed: tuple[Path, str], tools: Tools, key_pair: KeyPair, tmp_path: Path
) -> None:
    image, roothash = signed
    partitions = read_partitions(image)
    assert sorted(partitions) == ["root", "root-verity", "root-verity-sig"]
    assert {partition.name for partition in partitions.values()} == {"look_1.0.0"}
    parts = {}
    with image.open("rb") as file:
        for kind, partition in partitions.items():
            file.seek(partition.start)
            parts[kind] = tmp_path / kind
            parts[kind].write_bytes(file.read(partition.size))
    tools.run("veritysetup", "verify", parts["root"], parts["root-verity"], roothash)
    said = json.loads(parts["root-verity-sig"].read_bytes().rstrip(b"\0"))
    assert (said["rootHash"], said["certificateFingerprint"]) == (roothash, key_pair.fingerprint)
    (tmp_path / "signature").write_bytes(base64.b64decode(said["signature"]))
    (tmp_path / "hash").write_text(roothash)
    (tmp_path / "crt").write_bytes(key_pair.certificate.read_bytes())
    words = ("-binary", "-inform", "DER", "-in", tmp_path / "signature", "-content", tmp_path / "hash")
    words = (*words, "-certfile", tmp_path / "crt", "-nointern", "-noverify", "-out", tmp_path / "out")
    tools.run("openssl", "smime", "-verify", *words)
    with parts["root"].open("r+b") as file:
        file.seek(partitions["root"].size // 2)
        file.write(b"changed")
    with pytest.raises(Exception, match="veritysetup"):
        tools.run("veritysetup", "verify", parts["root"], parts["root-verity"], roothash)


def test_what_the_system_has_is_not_replaced(room: Path, system: Tree, store: Store) -> None:
    overlay = room / "overlays/mine/usr/bin/mount"
    overlay.parent.mkdir(parents=True)
    overlay.write_text("#!/bin/sh\n")
    (room / "mine.yaml").write_text("kind: extension\nname: mine\nof: os.yaml\noverlays: [mine]\n")
    assert "/usr/bin/mount" in system
    with pytest.raises(InputError, match="the extension 'mine' changes what the system has") as caught:
        build(room / "mine.yaml", room / "out/mine", store)
    assert caught.value.details == (
        "/usr/bin/mount: the system has it from the package 'mount', and the overlay 'mine' would bring another",
    )


def test_a_confext_is_files_of_etc(room: Path, store: Store) -> None:
    overlay = room / "overlays/company/etc/company/proxy"
    overlay.parent.mkdir(parents=True)
    overlay.write_text("http://proxy\n")
    (room / "company.yaml").write_text(
        "kind: extension\nname: company\nof: os.yaml\ntype: confext\noverlays: [company]\n"
    )
    tree = build(room / "company.yaml", room / "out/company", store).tree
    assert tree is not None
    files = [path for path, node in tree.walk() if node.kind is not Kind.DIRECTORY]
    assert files == ["/etc/company/proxy", "/etc/extension-release.d/extension-release.company_1.0.0"]


def test_what_takes_room_in_it_is_its_own(
    room: Path,
    extension: BuildResult,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BUILD_OS_CACHE", str(store.root))
    sizes = json.loads(run_command(capsys, "size", str(room / "look.yaml"), "-o", str(room / "out/look"), "--json").out)
    assert {"package:tcpdump", "package:libpcap0.8t64"} <= set(sizes["packages"])
    assert not {"package:libc6", "package:systemd"} & set(sizes["packages"])
    assert extension.tree is not None
    assert sizes["total"] == sum(measure_sizes(extension.tree, {}).packages.values())
    assert sizes["artifacts"]["look_1.0.0.raw"] == (room / "out/look/look_1.0.0.raw").stat().st_size


def test_a_build_over_its_budget_leaves_nothing(room: Path, extension: BuildResult, store: Store) -> None:
    (room / "large.yaml").write_text(EXTENSION.replace("look", "large") + "budget: {image: 1M}\n")
    with pytest.raises(InputError, match=r"large_1\.0\.0\.raw has .* more than budget\.image \(1M\)") as caught:
        build(room / "large.yaml", room / "out/large", store)
    assert any(line.startswith("largest: ") and "package:tcpdump" in line for line in caught.value.details)
    assert not (room / "out/large/build.json").exists()


def test_a_release_is_signed_by_no_development_key(room: Path, tmp_path: Path, store: Store) -> None:
    pair = make_key_pair(tmp_path / "keys", "me", development=True)
    request = BuildRequest(
        room / "look.yaml", tmp_path, store, QuietConsole(), relock=False, key_pair=pair, no_cache=True, release=True
    )
    with pytest.raises(InputError, match="is of a development key, and this is to be a release"):
        build_extension(request)


def test_a_second_build_has_nothing_to_do(room: Path, extension: BuildResult, store: Store) -> None:
    assert extension.seconds
    again = build(room / "look.yaml", room / "out/look", store)
    assert again.seconds == 0
    assert again.tree is not None
    assert extension.tree is not None
    assert again.tree.encode() == extension.tree.encode()
