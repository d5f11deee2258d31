"""An image whose state a TPM opens: its policy, computed by hand, and the same bits twice."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from builder.core.image import Image, read_image
from builder.core.pe import read_sections
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.signing import KeyPair
from builder.verify.artifacts import read_members
from tests.support.machines import build

pytestmark = pytest.mark.image

DEFINITION = 'name: sealed\nversion: "1"\nfeatures: [base]\nstate: {encryption: tpm2}\n'
# In the order in which systemd-stub(7) measures them (UAPI.5, "PE sections").
MEASURED = (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat", ".pcrpkey")


@pytest.fixture(scope="module")
def images(key_pair: KeyPair, store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image]:
    """The same definition built twice with one key; what is signed is made of downloads each time."""
    room = tmp_path_factory.mktemp("sealed")
    (room / "os.yaml").write_text(DEFINITION)
    first, second = (read_image(build(room / "os.yaml", room / name, store, key_pair)) for name in ("a", "b"))
    return first, second


def extend(register: bytes, data: bytes) -> bytes:
    """What a register of the SHA-256 bank is after a measurement (TPM 2.0 part 1, "Extend of a PCR")."""
    return hashlib.sha256(register + hashlib.sha256(data).digest()).digest()


def test_a_signed_image_with_a_policy_has_the_same_bits_twice(images: tuple[Image, Image]) -> None:
    first, second = ({kind: each.sha256 for kind, each in image.artifacts.items()} for image in images)
    assert first == second


def test_the_policy_is_that_of_the_registers_in_the_initrd_and_signed_by_the_build_s_key(
    images: tuple[Image, Image], tools: Tools, tmp_path: Path
) -> None:
    program = images[0].require_artifact("uki").path
    data = program.read_bytes()
    sections = {part.name: data[part.offset : part.offset + part.size] for part in read_sections(program)}
    pcr11 = bytes(32)
    for name in MEASURED:
        pcr11 = extend(extend(pcr11, name.encode() + b"\0"), sections[name])
    pcr11 = extend(pcr11, b"enter-initrd")
    # TPM2_PolicyPCR (TPM 2.0 part 3): its code, one selection of SHA-256 with the bit of register 11, and their digest.
    selection = bytes.fromhex("00000001000b03000800")
    policy = hashlib.sha256(bytes(32) + bytes.fromhex("0000017f") + selection + hashlib.sha256(pcr11).digest()).digest()

    [signed] = json.loads(sections[".pcrsig"])["sha256"]
    assert signed["pcrs"] == [11]
    assert signed["pol"] == policy.hex()
    for name, content in (
        ("key", sections[".pcrpkey"]),
        ("signature", base64.b64decode(signed["sig"])),
        ("policy", policy),
    ):
        (tmp_path / name).write_bytes(content)
    files = (str(tmp_path / name) for name in ("key", "signature", "policy"))
    key, signature, what = files
    assert "Verified OK" in tools.run("openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, what)


def test_what_opens_the_state_is_in_no_other_initrd(images: tuple[Image, Image], demo: Path, tools: Tools) -> None:
    def list_libraries(image: Image) -> set[str]:
        packed = image.require_artifact("initrd").path
        unpacked = packed.with_suffix(".cpio")
        tools.run("zstd", "-dqf", packed, "-o", unpacked)
        with unpacked.open("rb") as file:
            names = {name.rpartition("/")[2] for name, _ in read_members(file)}
        unpacked.unlink()
        return {name for name in names if name.startswith("libtss2-") and name.count(".") == 2}

    # The last is in no note of systemd's that says what it loads.
    needed = {f"libtss2-{name}.so.0" for name in ("esys", "mu", "rc", "tcti-device")}
    assert needed <= list_libraries(images[0])
    assert list_libraries(read_image(demo)) == set()
