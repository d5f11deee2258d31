"""An image for another architecture than this machine's, and what both have in common, read back by other code."""

from __future__ import annotations

import json
import shutil
import struct
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.tools import Tools
from tests.image.test_build import partitions, pe_sections
from vm.accel.choice import GUESTS, make_probe_argv

pytestmark = pytest.mark.image

# UAPI.2, "Partition Names".
ROOT, VERITY, SIGNATURE = (
    uuid.UUID("b921b045-1df0-41c3-af44-4c6f280d3fae"),
    uuid.UUID("df3300ce-d69f-4c92-978c-9bfb0f38d820"),
    uuid.UUID("6db69de6-29f4-4758-a7a5-962190f00ce3"),
)
# PE format, "Machine Types"; System V ABI, e_machine.
PE_MACHINE = {"amd64": 0x8664, "arm64": 0xAA64}
ELF_MACHINE = {"amd64": 62, "arm64": 183}


@dataclass(frozen=True)
class Unpacked:
    """A built image: its disk, its root file system as a directory, and its tools."""

    arch: str
    build: Path
    raw: Path
    root: Path
    tools: Tools

    def artifact(self, kind: str) -> bytes:
        manifest = json.loads(self.build.read_text(encoding="utf-8"))
        return (self.build.parent / manifest["artifacts"][kind]["path"]).read_bytes()


@pytest.fixture(scope="module", params=["amd64", "arm64"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unpacked]:
    build: Path = request.getfixturevalue("arm64_demo" if request.param == "arm64" else "demo")
    manifest = json.loads(build.read_text(encoding="utf-8"))
    assert manifest["arch"] == request.param
    tools = Tools(Path(manifest["tools"]), QuietConsole())
    folder = tmp_path_factory.mktemp(request.param)
    raw, packed, root = folder / "disk.raw", folder / "root.erofs", folder / "root"
    tools.run("qemu-img", "convert", "-O", "raw", build.parent / manifest["artifacts"]["qcow2"]["path"], raw)
    with raw.open("rb") as file:
        file.seek(partitions(raw)[1]["start"])
        packed.write_bytes(file.read(300 << 20))
    tools.run("fsck.erofs", f"--extract={root}", "--no-preserve", packed)
    yield Unpacked(request.param, build, raw, root, tools)
    shutil.rmtree(folder)


def elf_machine(data: bytes) -> int | None:
    """Of an ELF file; ``None`` for anything else."""
    return struct.unpack_from("<H", data, 18)[0] if data.startswith(b"\x7fELF") else None


def cpio_members(archive: bytes) -> Iterator[bytes]:
    """The content of every member (cpio(5), "New ASCII Format")."""
    at = 0
    while archive[at : at + 6] == b"070701":
        size, name = (int(archive[at + field : at + field + 8], 16) for field in (54, 94))
        start = -(-(at + 110 + name) // 4) * 4
        yield archive[start : start + size]
        at = -(-(start + size) // 4) * 4


def pe_machine(data: bytes) -> int:
    (offset,) = struct.unpack_from("<I", data, 0x3C)
    assert data[offset : offset + 4] == b"PE\0\0"
    return struct.unpack_from("<H", data, offset + 4)[0]


def test_every_program_and_library_is_of_the_images_architecture(built: Unpacked) -> None:
    files = (path for path in built.root.rglob("*") if path.is_file() and not path.is_symlink())
    machines = Counter(elf_machine(path.read_bytes()[:64]) for path in files)
    assert machines[ELF_MACHINE[built.arch]] > 300
    assert set(machines) == {ELF_MACHINE[built.arch], None}


def test_so_is_all_that_is_in_the_initrd(built: Unpacked, tmp_path: Path) -> None:
    packed = tmp_path / "initrd.zst"
    packed.write_bytes(built.artifact("initrd"))
    built.tools.run("zstd", "-q", "-d", packed, "-o", tmp_path / "initrd")
    machines = Counter(map(elf_machine, cpio_members((tmp_path / "initrd").read_bytes())))
    assert machines[ELF_MACHINE[built.arch]] > 40
    assert set(machines) == {ELF_MACHINE[built.arch], None}


def test_what_the_firmware_starts_is_so_as_well(built: Unpacked, tmp_path: Path) -> None:
    uki = built.artifact("uki")
    start = partitions(built.raw)[0]["start"]
    name = {"amd64": "BOOTX64.EFI", "arm64": "BOOTAA64.EFI"}[built.arch]
    built.tools.run("mcopy", "-i", f"{built.raw}@@{start}", f"::EFI/BOOT/{name}", tmp_path / "loader")
    for program in (uki, pe_sections(uki)[".linux"], (tmp_path / "loader").read_bytes()):
        assert pe_machine(program) == PE_MACHINE[built.arch]


def test_the_loaders_cache_is_ldconfigs(built: Unpacked, tmp_path: Path) -> None:
    if built.arch == "arm64":
        pytest.skip("its ldconfig does not run here: test_cross_equals_native.py emulates it")
    ours = (built.root / "etc/ld.so.cache").read_bytes()
    built.tools.run("ldconfig", "-X", "-r", built.root)
    assert (built.root / "etc/ld.so.cache").read_bytes() == ours


def test_partitions_are_found_by_their_types(arm64_demo: Path, tools: Tools, tmp_path: Path) -> None:
    tools.run("qemu-img", "convert", "-O", "raw", arm64_demo.parent / "demo.qcow2", tmp_path / "raw")
    types = [partition["type"] for partition in partitions(tmp_path / "raw")][1:]
    assert types == [ROOT, VERITY, SIGNATURE] * 2


def test_the_guest_that_tries_kvm_gets_to_its_end(built: Unpacked, tmp_path: Path) -> None:
    guest, firmware, marks = GUESTS[built.arch], tmp_path / "firmware", tmp_path / "marks"
    firmware.write_bytes(guest.make_firmware())
    emulated: Callable[[str], str] = lambda word: {"kvm": "tcg", "host": "max"}.get(word, word)  # noqa: E731
    with built.tools.spawn(*map(emulated, make_probe_argv(built.arch, firmware, marks))) as process:
        assert process.wait(30) == guest.EXIT_STATUS
    assert marks.read_text() == "".join(guest.STEPS)
