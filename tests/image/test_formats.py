"""Every artifact read back: by readers written here from the formats' specifications, and by qemu-img."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import struct
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import CapabilityError
from builder.core.store import Store
from builder.core.tools import Tools
from builder.oci.check import validate_layout
from builder.oci.image import ImageConfig, write_layout
from builder.oci.layout import read_image
from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.making import make_convert_argv, make_products
from builder.products.product import GIB, MIB, Identity, Part
from builder.tree.node import make_file as file_node
from builder.tree.tree import Tree
from update.documents import parse_release

pytestmark = pytest.mark.image

IDENTITY = Identity("demo", "1.0.0", "amd64", "seed", 1_700_000_000)
DISKS = {name: product for name, product in SYSTEM_PRODUCTS.items() if product.needs == {Part.RAW}}
ALL = [name for name, product in DISKS.items() if product.disk_size is None]
BLOCK = 1 << 16  # no format has smaller units of allocation
Pieces = Iterator[tuple[int, bytes]]


def make_disk(path: Path, size: int, *, filled: bool) -> Path:
    """A disk with data that compresses, data that does not, small islands and something at both ends.

    ``filled`` writes zeros where the other has holes, so the two have one content and different blocks.
    """
    noise = random.Random(1)
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in (
            (0, noise.randbytes(17 * 1024)),
            (MIB + 4096, b"text that shrinks " * 100_000),
            (100 * MIB, noise.randbytes(9 * MIB) + bytes(MIB) + noise.randbytes(MIB)),
            *((200 * MIB + number * 200_000, b"island") for number in range(60)),
            (size - 33 * 512, noise.randbytes(33 * 512)),
        ):
            file.seek(offset)
            file.write(data)
        if filled:
            file.seek(120 * MIB)
            file.write(bytes(30 * MIB))
    return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("disk") / "disk.raw", GIB, filled=False)


@pytest.fixture(scope="module")
def artifacts(disk: Path, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return make(ALL, disk, tmp_path_factory.mktemp("artifacts"), tools)


def make(names: list[str], disk: Path, out: Path, tools: Tools) -> dict[str, Path]:
    return make_products([SYSTEM_PRODUCTS[name] for name in names], {Part.RAW: disk}, out, tools, IDENTITY)


def assert_has_content_of(disk: Path, pieces: Pieces) -> None:
    """Each piece is the disk's content at its offset, and there is nothing else on the disk."""
    size = disk.stat().st_size
    missing = set(range(0, size, BLOCK))
    with disk.open("rb") as file:
        for offset, data in pieces:
            assert (offset % BLOCK, len(data) % BLOCK) == (0, 0)
            assert at(file, offset, len(data)) == data, f"other content at {offset}"
            missing.difference_update(range(offset, offset + len(data), BLOCK))
        for offset in missing:
            assert at(file, offset, BLOCK) == bytes(BLOCK), f"content missing at {offset}"


def at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    assert len(data) == length
    return data


# -- what we write instead of qemu-img


def test_a_qcow2_is_byte_for_byte_what_qemu_img_makes(disk: Path, artifacts: Mapping[str, Path], tools: Tools) -> None:
    conversion = DISKS["qcow2"].conversion
    assert conversion is not None
    theirs = artifacts["qcow2"].with_name("theirs.qcow2")
    tools.run(*make_convert_argv(conversion, disk, theirs))
    assert artifacts["qcow2"].read_bytes() == theirs.read_bytes()


# -- qcow2 (QEMU, docs/interop/qcow2.txt)


def read_qcow2(file: BinaryIO) -> Pieces:
    magic, version, backing, _, bits, size, crypt, l1_size, l1 = struct.unpack(">4sIQIIQIIQ", at(file, 0, 48))
    assert (magic, version, backing, crypt) == (b"QFI\xfb", 3, 0, 0)
    cluster = 1 << bits
    entries = cluster // 8
    for number, entry in enumerate(struct.unpack(f">{l1_size}Q", at(file, l1, l1_size * 8))):
        table = entry & 0x00FFFFFFFFFFFE00
        if not table:
            continue
        for index, value in enumerate(struct.unpack(f">{entries}Q", at(file, table, cluster))):
            where = (number * entries + index) * cluster
            if value >> 62 & 1:
                shift = 62 - (bits - 8)
                start = value & ((1 << shift) - 1)
                sectors = (value >> shift & ((1 << (bits - 8)) - 1)) + 1
                file.seek(start)
                packed = file.read(sectors * 512 - start % 512)
                yield where, zlib.decompressobj(-12).decompress(packed, cluster)
            elif value & 0x00FFFFFFFFFFFE00:
                assert not value & 1
                yield where, at(file, value & 0x00FFFFFFFFFFFE00, cluster)
    assert size % MIB == 0


@pytest.mark.parametrize("name", ["qcow2", "openstack", "alibaba", "oracle", "nutanix"])
def test_qcow2_has_the_disks_content(artifacts: Mapping[str, Path], disk: Path, tools: Tools, name: str) -> None:
    with artifacts[name].open("rb") as file:
        assert struct.unpack(">Q", at(file, 24, 8))[0] == disk.stat().st_size
        assert_has_content_of(disk, read_qcow2(file))
    info = json.loads(tools.run("qemu-img", "info", "--output=json", artifacts[name]))
    assert info["format-specific"]["data"]["compat"] == "1.1"
    assert info["format-specific"]["data"]["compression-type"] == "zlib"
    tools.run("qemu-img", "check", "-f", "qcow2", artifacts[name])


def test_nutanix_is_compressed_inside(artifacts: Mapping[str, Path]) -> None:
    with artifacts["nutanix"].open("rb") as file:
        assert file.seek(0, os.SEEK_END) < artifacts["qcow2"].stat().st_size


# -- VMDK (VMware, Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents")


def read_vmdk(file: BinaryIO) -> Pieces:
    names = "<4sIIQQQQIQQQ?cccc H"
    head = struct.unpack(names.replace(" ", ""), at(file, 0, 79))
    magic, version, flags, capacity, grain, _, _, per_table, _, directory, _, _, *_, compression = head
    assert (magic, version) == (b"KDMV", 3)
    assert flags & 0x30000 == 0x30000  # compressed grains, markers
    assert compression == 1  # DEFLATE
    if directory == 2**64 - 1:  # the real one is in the footer
        file.seek(-1024, os.SEEK_END)
        directory = struct.unpack_from("<Q", file.read(512), 56)[0]
    tables = -(-capacity // (grain * per_table))
    for number, table in enumerate(struct.unpack(f"<{tables}I", at(file, directory * 512, tables * 4))):
        if not table:
            continue
        for index, start in enumerate(struct.unpack(f"<{per_table}I", at(file, table * 512, per_table * 4))):
            if not start:
                continue
            sector, length = struct.unpack("<QI", at(file, start * 512, 12))
            assert sector == (number * per_table + index) * grain
            yield sector * 512, zlib.decompress(at(file, start * 512 + 12, length))


def assert_is_vmdk(file: BinaryIO, disk: Path) -> None:
    offset, sectors = struct.unpack("<QQ", at(file, 28, 16))
    descriptor = at(file, offset * 512, sectors * 512).rstrip(b"\0").decode()
    assert 'createType="streamOptimized"' in descriptor
    assert 'ddb.adapterType = "lsilogic"' in descriptor
    assert 'ddb.virtualHWVersion = "6"' in descriptor
    assert f'RW {disk.stat().st_size // 512} SPARSE "disk.vmdk"' in descriptor
    assert_has_content_of(disk, read_vmdk(file))


def test_aws_has_the_disks_content(artifacts: Mapping[str, Path], disk: Path, tools: Tools) -> None:
    with artifacts["aws"].open("rb") as file:
        assert_is_vmdk(file, disk)
    tools.run("qemu-img", "check", "-f", "vmdk", artifacts["aws"])
    tools.run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", artifacts["aws"], disk)


def test_appliance_has_a_description_and_the_disks_content(artifacts: Mapping[str, Path], disk: Path) -> None:
    with tarfile.open(artifacts["vsphere"]) as archive:
        description, manifest, member = archive.getmembers()
        assert (description.name, manifest.name, member.name) == ("demo.ovf", "demo.mf", "disk.vmdk")
        sums = archive.extractfile(manifest)
        assert sums is not None
        for line in sums.read().decode().splitlines():
            name, sha256 = line.removeprefix("SHA256(").split(")= ")
            content = archive.extractfile(name)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == sha256
        text = archive.extractfile(description)
        file = archive.extractfile(member)
        assert text is not None
        assert file is not None
        assert f'ovf:size="{member.size}"'.encode() in text.read()
        assert_is_vmdk(io.BytesIO(file.read()), disk)


# -- VHD (Microsoft, Virtual Hard Disk Image Format Specification 1.0)


def test_azure_is_a_fixed_vhd_of_whole_mib(artifacts: Mapping[str, Path], disk: Path, tools: Tools) -> None:
    size = disk.stat().st_size
    assert artifacts["azure"].stat().st_size == size + 512
    with artifacts["azure"].open("rb") as file:
        footer = at(file, size, 512)
        assert_has_content_of(disk, ((offset, at(file, offset, MIB)) for offset in range(0, size, MIB)))
    cookie, features, version, data, stamp, _, _, _, original, current, _, kind, checksum = struct.unpack_from(
        ">8sIIQI4sI4sQQIII", footer
    )
    assert (cookie, features & 2, version, data, kind) == (b"conectix", 2, 0x10000, 2**64 - 1, 2)
    assert original == current == size
    assert size % MIB == 0
    assert stamp == IDENTITY.created - 946684800
    assert checksum == ~(sum(footer[:64]) + sum(footer[68:])) & 0xFFFFFFFF
    assert footer[68:84] == IDENTITY.make_uuid("vhd").bytes
    info = json.loads(tools.run("qemu-img", "info", "-f", "vpc", "--output=json", artifacts["azure"]))
    assert info["virtual-size"] == size
    assert artifacts["azure"].stat().st_blocks * 512 < size // 4  # still sparse


# -- VHDX ([MS-VHDX])


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def regions_of(file: BinaryIO, table: int) -> dict[uuid.UUID, tuple[int, int]]:
    data = at(file, table, 65536)
    signature, checksum, count = struct.unpack_from("<4sII", data)
    assert signature == b"regi"
    assert crc32c(data[:4] + bytes(4) + data[8:]) == checksum
    found = {}
    for number in range(count):
        guid, offset, length, _ = struct.unpack_from("<16sQII", data, 16 + 32 * number)
        found[uuid.UUID(bytes_le=guid)] = (offset, length)
    return found


BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")


def metadata_of(file: BinaryIO, offset: int) -> dict[uuid.UUID, bytes]:
    table = at(file, offset, 65536)
    signature, count = struct.unpack_from("<8sxxH", table)
    assert signature == b"metadata"
    found = {}
    for number in range(count):
        guid, start, length = struct.unpack_from("<16sII", table, 32 + 32 * number)
        found[uuid.UUID(bytes_le=guid)] = at(file, offset + start, length)
    return found


def read_vhdx(file: BinaryIO) -> Pieces:
    regions = regions_of(file, 192 * 1024)
    assert regions == regions_of(file, 256 * 1024)
    metadata = metadata_of(file, regions[METADATA][0])
    block, size, sector = (
        int.from_bytes(metadata[key][:4] if key != VIRTUAL_SIZE else metadata[key], "little")
        for key in (FILE_PARAMETERS, VIRTUAL_SIZE, SECTOR_SIZE)
    )
    ratio = (1 << 23) * sector // block
    blocks = -(-size // block)
    table = at(file, regions[BAT][0], regions[BAT][1])
    for number in range(blocks):
        # After each chunk there is an entry for its sector bitmap, which a disk without parent does not use.
        (entry,) = struct.unpack_from("<Q", table, 8 * (number + number // ratio))
        state, offset = entry & 7, entry >> 20 << 20
        assert state in (0, 2, 6)  # not present, zero, fully present
        if state == 6:
            yield number * block, at(file, offset, block)


def test_hyperv_is_a_sound_vhdx_with_the_disks_content(artifacts: Mapping[str, Path], disk: Path, tools: Tools) -> None:
    with artifacts["hyperv"].open("rb") as file:
        assert at(file, 0, 8) == b"vhdxfile"
        for offset in (64 * 1024, 128 * 1024):
            header = at(file, offset, 4096)
            signature, checksum = struct.unpack_from("<4sI", header)
            assert signature == b"head"
            assert crc32c(header[:4] + bytes(4) + header[8:]) == checksum
            assert header[48:64] == bytes(16)  # the log is empty
        metadata = metadata_of(file, regions_of(file, 192 * 1024)[METADATA][0])
        assert metadata[DISK_ID] == IDENTITY.make_uuid("vhdx").bytes_le
        assert int.from_bytes(metadata[VIRTUAL_SIZE], "little") == disk.stat().st_size
        assert_has_content_of(disk, read_vhdx(file))
    tools.run("qemu-img", "check", "-f", "vhdx", artifacts["hyperv"])
    tools.run("qemu-img", "compare", "-f", "vhdx", "-F", "raw", artifacts["hyperv"], disk)


# -- packed


def test_gce_is_one_sparse_disk_raw(artifacts: Mapping[str, Path], disk: Path) -> None:
    plain = gzip.decompress(artifacts["gce"].read_bytes())
    assert plain[257:265] == b"ustar  \0"
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.size, member.issparse()) == ("disk.raw", disk.stat().st_size, True)
        assert member.size % GIB == 0
        content = archive.extractfile(member)
        assert content is not None
        assert_has_content_of(disk, ((offset, content.read(MIB)) for offset in range(0, member.size, MIB)))
    assert len(plain) < disk.stat().st_size // 4


@pytest.mark.parametrize("name", ["gce", "digitalocean", "akamai"])
def test_gzip_says_neither_when_nor_from_what(artifacts: Mapping[str, Path], name: str) -> None:
    head = artifacts[name].read_bytes()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3:8] == bytes(5)  # no name, no time


def test_digitalocean_is_the_qcow2_packed(artifacts: Mapping[str, Path]) -> None:
    assert gzip.decompress(artifacts["digitalocean"].read_bytes()) == artifacts["qcow2"].read_bytes()


def test_akamai_is_the_disk_packed(artifacts: Mapping[str, Path], disk: Path) -> None:
    with gzip.open(artifacts["akamai"]) as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256_of(disk)


def test_raw_is_the_disk_itself(artifacts: Mapping[str, Path], disk: Path) -> None:
    assert sha256_of(artifacts["raw"]) == sha256_of(disk)
    assert artifacts["raw"].stat().st_blocks * 512 < disk.stat().st_size // 4


def test_kubevirt_is_an_image_with_the_disk_in_it(artifacts: Mapping[str, Path], disk: Path, tmp_path: Path) -> None:
    with tarfile.open(artifacts["kubevirt"]) as archive:
        archive.extractall(tmp_path, filter="data")
    assert validate_layout(tmp_path) == []
    (entry,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    manifest = json.loads((tmp_path / "blobs" / entry["digest"].replace(":", "/")).read_text())
    (layer,) = manifest["layers"]
    with tarfile.open(tmp_path / "blobs" / layer["digest"].replace(":", "/")) as archive:
        member = archive.getmember("disk/demo.qcow2")
        assert (member.uid, member.mode) == (107, 0o440)
        file = archive.extractfile(member)
        assert file is not None
        assert_has_content_of(disk, read_qcow2(io.BytesIO(file.read())))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- update


def test_an_update_is_the_parts_of_a_system_and_the_same_bytes_again(tools: Tools, tmp_path: Path) -> None:
    noise = random.Random(2).randbytes(3 * MIB)
    parts = {Part.ROOT: noise * 2, Part.VERITY: b"hashes" * 9999, Part.SIGNATURE: bytes(16384), Part.UKI: b"MZ" * 5000}
    for part, data in parts.items():
        (tmp_path / part).write_bytes(data)
    identity = Identity("demo", "1.0.0", "amd64", "seed", 1_700_000_000, "0123456789abcdef" * 4)
    update = SYSTEM_PRODUCTS["update"]
    one, other = (
        make_products([update], {part: tmp_path / part for part in parts}, tmp_path / name, tools, identity)["update"]
        for name in ("one", "other")
    )
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        archive.extractall(tmp_path / "in", filter="data")
    release = parse_release((tmp_path / "in/release.json").read_bytes())
    assert {Part(name): part.size for name, part in release.parts.items()} == {k: len(v) for k, v in parts.items()}
    for name, part in release.parts.items():
        (file,) = part.files
        packed, plain = tmp_path / "in" / file.name, tmp_path / "plain"
        assert sha256_of(packed) == file.sha256
        tools.run("zstd", "--quiet", "--force", "--decompress", "--memory=64MB", packed, "-o", plain)
        assert plain.read_bytes() == parts[Part(name)]
        assert sha256_of(plain) == part.sha256


# -- all


def test_same_content_gives_the_same_bytes_whatever_the_file_systems_blocks(
    artifacts: Mapping[str, Path], tools: Tools, tmp_path: Path
) -> None:
    other = make_disk(tmp_path / "another-name.img", GIB, filled=True)
    again = make(ALL, other, tmp_path / "out", tools)
    assert {name: sha256_of(path) for name, path in again.items()} == {
        name: sha256_of(path) for name, path in artifacts.items()
    }


def test_exoscale_takes_ten_gib_and_nothing_else(tools: Tools, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(10 * GIB)
        file.write(b"boot")
    assert SYSTEM_PRODUCTS["exoscale"].find_size_problem(10 * GIB) is None
    made = make(["exoscale"], disk, tmp_path / "out", tools)
    with made["exoscale"].open("rb") as image:
        assert struct.unpack(">Q", at(image, 24, 8))[0] == 10 * GIB


READERS: dict[str, Callable[[BinaryIO], Pieces]] = {
    "qcow2": read_qcow2,
    "aws": read_vmdk,
    "hyperv": read_vhdx,
}


@pytest.mark.parametrize("name", READERS)
def test_readers_of_this_test_notice_a_changed_bit(
    artifacts: Mapping[str, Path], disk: Path, tmp_path: Path, name: str
) -> None:
    data = bytearray(artifacts[name].read_bytes())
    data[-(len(data) // 3)] ^= 0x10
    with pytest.raises((AssertionError, zlib.error)):
        assert_has_content_of(disk, READERS[name](io.BytesIO(data)))


def test_image_layer_packed_by_pigz_is_sound_and_reproducible(tools: Tools, tmp_path: Path) -> None:
    tree = Tree()
    tree.put("/text", file_node("shrinks " * 100_000, origin="t"))
    config = ImageConfig("amd64", "web", "1.0.0")
    images = [write_layout(tree, config, tmp_path / name, gzip=tools) for name in ("one", "two")]
    assert images[0].manifest == images[1].manifest
    assert validate_layout(tmp_path / "one") == []
    (layer,) = images[0].layers
    assert layer.size < layer.diff_size // 10
    back = read_image(tmp_path / "one", Store(tmp_path / "store"), architecture="amd64", name="web")
    assert back.tree.compute_digest() == tree.compute_digest()


def test_tools_tree_without_pigz_says_so(tmp_path: Path) -> None:
    empty = Tools(tmp_path, QuietConsole())
    with pytest.raises(CapabilityError, match="the tools tree has no pigz"):
        write_layout(Tree(), ImageConfig("amd64", "web", "1"), tmp_path / "out", gzip=empty)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
