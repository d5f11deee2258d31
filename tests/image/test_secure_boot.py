"""A signed image: every signature verifies by openssl and by a reader of our own, and nothing of the key is left."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from builder.build import BuildRequest, build_system
from builder.core.console import QuietConsole
from builder.core.efi_keys import make_signature_list
from builder.core.errors import InputError, ToolError
from builder.core.image import Image, read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.signing import KeyPair, make_key_pair
from tests.support.authenticode import digest, indirect_data, signature
from tests.support.machines import build
from update.gpt import HEAD, parse_gpt

pytestmark = pytest.mark.image

DEMO = Path(__file__).parent.parent.parent / "configs" / "demo.yaml"
PROGRAMS = ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi", "EFI/Linux/demo_1.0.0.efi")


@pytest.fixture(scope="module")
def image(signed_demo: Path) -> Image:
    return read_image(signed_demo)


@pytest.fixture(scope="module")
def raw(image: Image, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "disk.raw"
    tools.run("qemu-img", "convert", "-O", "raw", image.require_artifact("qcow2").path, path)
    return path


@pytest.fixture(scope="module")
def esp(raw: Path, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the EFI system partition."""
    directory = tmp_path_factory.mktemp("esp")
    with raw.open("rb") as file:
        start = parse_gpt(file.read(HEAD))[0].start
    tools.run("mcopy", "-s", "-i", f"{raw}@@{start}", "::/*", directory)
    return directory


def verify(tools: Tools, scratch: Path, pkcs7: bytes, content: bytes, certificate: Path) -> None:
    """Check a signature against one certificate, whatever the signature brings along.

    Raises:
        ToolError: it is not by its key, or of something else.
    """
    (scratch / "pkcs7").write_bytes(pkcs7)
    (scratch / "content").write_bytes(content)
    tools.run(
        "openssl",
        *("smime", "-verify", "-binary", "-noverify", "-nointern", "-certfile", certificate),
        *("-inform", "DER", "-in", scratch / "pkcs7", "-content", scratch / "content", "-out", "/dev/null"),
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_firmware_starts_is_signed_and_one_bit_more_or_less_is_noticed(
    esp: Path, tools: Tools, key_pair: KeyPair, tmp_path: Path, name: str
) -> None:
    program = (esp / name).read_bytes()
    signed = indirect_data(signature(program))
    verify(tools, tmp_path, signature(program), signed, key_pair.certificate)
    assert signed.endswith(digest(program))
    stranger = make_key_pair(tmp_path / "keys", "stranger")
    with pytest.raises(ToolError):
        verify(tools, tmp_path, signature(program), signed, stranger.certificate)
    changed = bytearray(program)
    changed[len(program) // 2] ^= 1
    assert digest(changed) != digest(program)


def test_the_artifact_is_what_is_on_the_disk(esp: Path, image: Image, key_pair: KeyPair) -> None:
    assert (esp / PROGRAMS[2]).read_bytes() == image.require_artifact("uki").path.read_bytes()
    assert image.require_artifact("certificate").path.read_bytes() == key_pair.der
    manifest = json.loads((image.directory / "build.json").read_text())
    assert manifest["signed_by"] == key_pair.fingerprint == manifest["artifacts"]["certificate"]["sha256"]


def test_the_root_hash_is_signed_in_its_partition(
    raw: Path, image: Image, tools: Tools, key_pair: KeyPair, tmp_path: Path
) -> None:
    with raw.open("rb") as file:
        partition = parse_gpt(file.read(HEAD))[3]
        assert partition.type == "root-verity-sig"
        file.seek(partition.start)
        text = json.loads(file.read(partition.size).rstrip(b"\0"))
    assert text["rootHash"] == image.roothash
    assert text["certificateFingerprint"] == key_pair.fingerprint
    pkcs7 = base64.b64decode(text["signature"])
    verify(tools, tmp_path, pkcs7, image.roothash.encode(), key_pair.certificate)
    with pytest.raises(ToolError):
        verify(tools, tmp_path, pkcs7, b"0" * 64, key_pair.certificate)


def test_the_loader_brings_the_keys_that_it_may_enrol(esp: Path, key_pair: KeyPair) -> None:
    files = {path.name: path.read_bytes() for path in (esp / "loader/keys/auto").iterdir()}
    assert files.keys() == {"PK.auth", "KEK.auth", "db.auth"}
    assert all(data.endswith(make_signature_list(key_pair.der)) for data in files.values())


def test_the_same_key_gives_the_same_bits(
    image: Image, key_pair: KeyPair, store: Store, tools: Tools, tmp_path: Path
) -> None:
    again = json.loads(build(DEMO, tmp_path / "again", store, key_pair).read_text())["artifacts"]
    assert {kind: each["sha256"] for kind, each in again.items()} == {
        kind: artifact.sha256 for kind, artifact in image.artifacts.items()
    }
    # And another key is a reason to build, into the same directory.
    other = make_key_pair(tmp_path / "keys", "other")
    changed = json.loads(build(DEMO, tmp_path / "again", store, other).read_text())["artifacts"]
    assert {kind for kind in again if again[kind]["sha256"] != changed[kind]["sha256"]} == {
        *("qcow2", "uki", "certificate")
    }


def test_nothing_of_the_key_is_in_the_output_or_the_store(
    image: Image, raw: Path, key_pair: KeyPair, store: Store
) -> None:
    line = key_pair.key.read_text().splitlines()[3].encode()
    assert len(line) == 64
    kept = [path for room in ("outputs", "stages") for path in (store.root / room).rglob("*") if path.is_file()]
    mine = [path for path in kept if path.stat().st_mtime >= key_pair.key.stat().st_mtime]
    where = f"{key_pair.key}".encode()
    for path in (*(path for path in image.directory.iterdir() if path.is_file()), *mine):
        data = path.read_bytes()
        assert line not in data, path
        assert where not in data, path


def test_a_pair_that_is_none_ends_the_build_before_anything_is_made(
    key_pair: KeyPair, store: Store, tools: Tools, tmp_path: Path
) -> None:
    other = make_key_pair(tmp_path / "keys", "other")
    mixed = KeyPair(key_pair.key, other.certificate, other.der)
    elliptic = tmp_path / "ec.key"
    tools.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", elliptic)
    tools.run("openssl", "req", "-x509", "-new", "-key", elliptic, "-subj", "/CN=ec", "-out", tmp_path / "ec.crt")
    broken = tmp_path / "broken.key"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n")
    for pair, what in (
        (mixed, "is not the key of the certificate"),
        (KeyPair(elliptic, tmp_path / "ec.crt", _der(tmp_path / "ec.crt")), "is of no RSA key"),
        (KeyPair(broken, key_pair.certificate, key_pair.der), r"broken\.key cannot be used"),
    ):
        with pytest.raises(InputError, match=what):
            build_system(BuildRequest(DEMO, tmp_path / "out", store, QuietConsole(), key_pair=pair))
        assert not (tmp_path / "out" / "build.json").exists()


def _der(path: Path) -> bytes:
    from builder.core.efi_keys import read_certificate

    return read_certificate(path)
