"""The catalogue of products: what is asked of qemu-img, what is refused, and what we write ourselves."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import tarfile
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.core.errors import InputError, ToolError
from builder.core.sparse import BLOCK
from builder.core.tools import Tools
from builder.products.catalogue import PRODUCTS, SYSTEM_PRODUCTS
from builder.products.formats.gce import format_number, write_disk_tar
from builder.products.formats.kubevirt import make_container_disk
from builder.products.formats.ova import Appliance, make_ovf, write_ova
from builder.products.formats.qcow2_file import can_write
from builder.products.formats.vhd import stamp_vhd
from builder.products.formats.vhdx import compute_crc32c, stamp_vhdx
from builder.products.formats.vmdk import stamp_vmdk
from builder.products.making import make_convert_argv, make_products
from builder.products.product import GIB, MIB, Conversion, Identity, Job, Part, Piece, Product

if TYPE_CHECKING:
    from conftest import FakeTools

pytestmark = pytest.mark.unit

DEMO = Identity("demo", "1.0.0", "amd64", "roothash", 86400)
ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


# -- the catalogue


CONVERSIONS = {product.conversion: None for product in PRODUCTS.values() if product.conversion is not None}


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda conversion: conversion.name)
def test_a_conversion_is_one_command_that_writes_in_order(conversion: Conversion) -> None:
    argv = make_convert_argv(conversion, Path("/d.raw"), Path("/o"))
    assert argv[:5] == ("qemu-img", "convert", "-f", "raw", "-O")
    assert argv[-2:] == ("/d.raw", "/o")
    assert not {"-W", "-n", "-B"} & set(argv), "out of order, into what is there, onto another image"


def test_conversions_of_one_name_are_one_conversion() -> None:
    """What is converted is a file by that name, so that two would overwrite each other."""
    assert len({conversion.name for conversion in CONVERSIONS}) == len(CONVERSIONS)


def test_every_product_has_a_file_name_of_its_own() -> None:
    names = [product.make_file_name("demo") for product in PRODUCTS.values()]
    assert len(set(names)) == len(names)
    assert PRODUCTS["qcow2"].make_file_name("demo") == "demo.qcow2"
    assert PRODUCTS["azure"].make_file_name("demo") == "demo-azure.vhd"
    assert PRODUCTS["oci"].make_file_name("demo") == "demo.oci.tar"


def test_what_only_a_container_has_is_no_output_of_a_system() -> None:
    assert PRODUCTS.keys() - SYSTEM_PRODUCTS.keys() == {"bundle"}


@pytest.mark.parametrize("name", PRODUCTS)
def test_ten_gib_suit_every_product(name: str) -> None:
    assert PRODUCTS[name].find_size_problem(10 * GIB) is None


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        ("azure", 8 * GIB + 512, "azure takes disks of whole MiB"),
        ("qcow2", MIB + 1, "qcow2 takes disks of whole MiB"),
        ("gce", 8 * GIB + MIB, "gce takes disks of whole GiB"),
        ("exoscale", 8 * GIB, "exoscale takes disks of exactly 10 GiB"),
    ],
)
def test_disk_of_the_wrong_size_is_refused(name: str, size: int, problem: str) -> None:
    assert str(PRODUCTS[name].find_size_problem(size)).startswith(problem)


# -- making products


@pytest.fixture
def tools(fake_tools: FakeTools) -> FakeTools:
    """A qemu-img that writes its arguments into its output."""

    def run_qemu_img(*words: str) -> str:
        Path(words[-1]).write_text(f"made by {' '.join(words[:-2])}")
        return ""

    fake_tools.programs["qemu-img"] = run_qemu_img
    return fake_tools


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(GIB)
        file.seek(5 * BLOCK)
        file.write(b"x")
    return path


def make(disk: Path, names: Sequence[str], out: Path, tools: Tools, identity: Identity) -> dict[str, Path]:
    return make_products([PRODUCTS[name] for name in names], {Part.RAW: disk}, out, tools, identity)


def test_products_that_are_the_same_are_converted_once(disk: Path, tmp_path: Path, tools: FakeTools) -> None:
    made = make(disk, ["qcow2", "openstack", "raw", "nutanix"], tmp_path / "out", tools, DEMO)
    assert sorted(command[5] for command in tools.calls) == [
        "qcow2"
    ]  # nutanix's, compressed; the others are written by us
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "demo-nutanix.qcow2",
        "demo-openstack.qcow2",
        "demo.qcow2",
        "demo.raw",
    ]
    assert made["qcow2"].read_bytes() == made["openstack"].read_bytes()
    assert made["qcow2"].stat().st_ino != made["openstack"].stat().st_ino  # writing one leaves the other alone
    assert made["raw"].stat().st_size == disk.stat().st_size
    assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o644}


def test_old_artifact_is_replaced(disk: Path, tmp_path: Path, tools: FakeTools) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/demo.qcow2").write_text("old")
    made = make(disk, ["qcow2"], tmp_path / "out", tools, DEMO)
    assert made["qcow2"].read_bytes().startswith(b"QFI")


def test_nothing_is_visible_when_a_conversion_fails(disk: Path, tmp_path: Path, tools: FakeTools) -> None:
    def fail(*words: str) -> str:
        Path(words[-1]).write_text("half")
        raise ToolError("qemu-img failed")

    tools.programs["qemu-img"] = fail
    with pytest.raises(ToolError, match="qemu-img failed"):
        make(disk, ["qcow2", "nutanix"], tmp_path / "out", tools, DEMO)
    assert list((tmp_path / "out").iterdir()) == []


def make_pieces(tmp_path: Path, whole: Path) -> tuple[Path, tuple[Piece, ...]]:
    """A disk that lacks two pieces, and those; ``whole`` becomes the disk with them."""
    noise = random.Random(1)
    pieces = []
    for offset, data in ((2 * MIB, noise.randbytes(MIB) + bytes(3 * BLOCK) + b"end"), (600 * MIB, noise.randbytes(5))):
        path = tmp_path / f"piece{offset}"
        path.write_bytes(data)
        pieces.append(Piece(offset, path))
    skeleton = tmp_path / "skeleton.raw"
    for path, written in ((skeleton, ()), (whole, tuple(pieces))):
        with path.open("wb") as file:
            file.truncate(GIB)
            file.write(b"table")
            for piece in written:
                file.seek(piece.offset)
                file.write(piece.path.read_bytes())
            file.seek(GIB - 512)
            file.write(b"the other table")
    return skeleton, tuple(pieces)


def test_a_disk_in_pieces_makes_the_same_products_as_a_whole_one(tmp_path: Path, tools: FakeTools) -> None:
    whole = tmp_path / "whole.raw"
    skeleton, pieces = make_pieces(tmp_path, whole)
    as_qcow2 = [PRODUCTS["qcow2"]]
    made = make_products(as_qcow2, {Part.RAW: whole}, tmp_path / "a", tools, DEMO)["qcow2"].read_bytes()
    of_pieces = make_products(as_qcow2, {Part.RAW: skeleton}, tmp_path / "b", tools, DEMO, pieces)["qcow2"]
    assert of_pieces.read_bytes() == made
    assert skeleton.stat().st_blocks < whole.stat().st_blocks, "nobody needed the whole disk"
    raw = make_products([PRODUCTS["raw"]], {Part.RAW: skeleton}, tmp_path / "c", tools, DEMO, pieces)["raw"]
    assert raw.read_bytes() == whole.read_bytes()
    assert tools.calls == []


def test_a_disk_that_needs_more_than_one_block_of_reference_counts_is_left_to_qemu_img() -> None:
    assert can_write(8 * GIB, GIB)
    assert not can_write(8 * GIB, 2 * GIB)
    assert not can_write(5 << 40, GIB)


def test_all_misfits_are_named_before_anything_is_made(tmp_path: Path, tools: FakeTools) -> None:
    odd = tmp_path / "odd.raw"
    with odd.open("wb") as file:
        file.truncate(MIB + 512)
    with pytest.raises(InputError) as error:
        make(odd, ["gce", "azure"], tmp_path / "out", tools, DEMO)
    assert error.value.what.startswith("gce takes")
    assert error.value.details[0].startswith("azure takes")
    assert tools.calls == []


def test_a_product_can_be_made_of_any_part_and_needs_no_disk(tmp_path: Path, tools: FakeTools) -> None:
    """What a netboot or an update wants: the root and what boots it, without the disk around them."""

    def finish(job: Job) -> None:
        job.out.write_bytes(job.parts[Part.ROOT].read_bytes() + job.parts[Part.UKI].read_bytes())

    product = Product(
        "payload", "updates", "root and UKI", ".bin", needs=frozenset({Part.ROOT, Part.UKI}), finish=finish
    )
    parts = {Part.ROOT: tmp_path / "root", Part.UKI: tmp_path / "uki"}
    for part, path in parts.items():
        path.write_text(f"{part}\n")
    made = make_products([product], parts, tmp_path / "out", tools, DEMO)
    assert made == {"payload": tmp_path / "out/demo-payload.bin"}
    assert made["payload"].read_text() == "root\nuki\n"
    assert product.format == "bin"
    assert product.find_size_problem(1) is None


def test_uuids_depend_on_the_seed_and_the_purpose() -> None:
    assert DEMO.make_uuid("a") == DEMO.make_uuid("a")
    assert len({DEMO.make_uuid("a"), DEMO.make_uuid("b"), replace(DEMO, seed="other").make_uuid("a")}) == 3


def make_file(path: Path, size: int, pieces: dict[int, bytes], *, filled: bool = False) -> Path:
    with path.open("wb") as file:
        if filled:
            file.write(bytes(size))
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


# -- KubeVirt


def test_container_disk_holds_the_disk_alone(tmp_path: Path) -> None:
    qcow2 = tmp_path / "x.qcow2"
    qcow2.write_bytes(b"QFI\xfb")
    tree = make_container_disk(qcow2, "demo")
    assert [path for path, _ in tree.walk()] == ["/", "/disk", "/disk/demo.qcow2"]
    node = tree.require("/disk/demo.qcow2")
    assert (node.uid, node.gid, node.mode, node.content.read()) == (107, 107, 0o440, b"QFI\xfb")


# -- Google Compute Engine


def disk_tar(path: Path) -> bytes:
    out = io.BytesIO()
    write_disk_tar(path, out, created=86400)
    return out.getvalue()


@pytest.mark.parametrize("runs", [0, 1, 3, 4, 5, 25, 26, 60])
@pytest.mark.parametrize("at_end", [False, True])
def test_other_readers_get_the_disk_back_whatever_the_number_of_holes(tmp_path: Path, runs: int, at_end: bool) -> None:
    pieces = {2 * run * BLOCK + 5: b"run %d" % run for run in range(runs)}
    size = (2 * runs + 3) * BLOCK
    if at_end:
        pieces[size - 3] = b"end"
    path = make_file(tmp_path / "disk", size, pieces)
    data = disk_tar(path)
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        (member,) = archive.getmembers()
        assert (member.name, member.type, member.size, member.mtime) == ("disk.raw", b"S", size, 86400)
        content = archive.extractfile(member)
        assert content is not None
        assert content.read() == path.read_bytes()
    assert data[257:265] == b"ustar  \0"


def test_disk_tar_does_not_depend_on_the_file_systems_holes(tmp_path: Path) -> None:
    pieces = {9 * BLOCK: b"x", 30 * BLOCK: b"y"}
    one = make_file(tmp_path / "a", 40 * BLOCK, pieces)
    two = make_file(tmp_path / "b", 40 * BLOCK, pieces, filled=True)
    assert disk_tar(one) == disk_tar(two)


@given(st.integers(0, 2**64))
def test_numbers_of_any_size_fit_their_field(value: int) -> None:
    assert tarfile.nti(format_number(value)) == value  # type: ignore[attr-defined]  # not in the stubs
    assert len(format_number(value)) == 12


# -- vSphere

NS = {
    "o": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "vmw": "http://www.vmware.com/schema/ovf",
}


def test_appliance_is_described_as_vsphere_wants_it() -> None:
    root = ET.fromstring(make_ovf(Appliance("demo", "1.0.0", 8 * GIB, 12345)))

    def attribute(path: str, name: str) -> str:
        element = root.find(path, NS)
        assert element is not None
        prefix, _, key = name.partition(":")
        return element.attrib[f"{{{NS[prefix]}}}{key}"]

    assert attribute("o:References/o:File", "o:href") == "disk.vmdk"
    assert attribute("o:References/o:File", "o:size") == "12345"
    assert attribute("o:DiskSection/o:Disk", "o:capacity") == str(8 * GIB)
    assert attribute("o:DiskSection/o:Disk", "o:format").endswith("#streamOptimized")
    hardware = "o:VirtualSystem/o:VirtualHardwareSection"
    assert attribute(hardware, "o:transport") == "com.vmware.guestInfo"
    assert root.findtext(f"{hardware}/o:System/vssd:VirtualSystemType", namespaces=NS) == "vmx-17"
    assert attribute(f"{hardware}/vmw:Config[@vmw:key='firmware']", "vmw:value") == "efi"
    properties = root.findall("o:VirtualSystem/o:ProductSection/o:Property", NS)
    assert [p.attrib[f"{{{NS['o']}}}key"] for p in properties] == [
        "guestinfo.ignition.config.data",
        "guestinfo.ignition.config.data.encoding",
    ]
    parents = {item.findtext("rasd:Parent", namespaces=NS) for item in root.iter(f"{{{NS['o']}}}Item")}
    assert "3" in parents


def test_values_cannot_break_out_of_the_description() -> None:
    root = ET.fromstring(make_ovf(Appliance('a"<b>&', "1&2", 1, 1)))
    assert root.findtext("o:VirtualSystem/o:Name", namespaces=NS) == 'a"<b>& 1&2'


def test_description_comes_first_in_the_appliance(tmp_path: Path) -> None:
    vmdk = tmp_path / "x"
    vmdk.write_bytes(b"K" * 1000)
    out = io.BytesIO()
    write_ova(vmdk, out, Appliance("demo", "1.0.0", GIB, 1000), created=5)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.getnames() == ["demo.ovf", "demo.mf", "disk.vmdk"]
        manifest = archive.extractfile("demo.mf")
        assert manifest is not None
        for line in manifest.read().decode().splitlines():
            name, sha256 = line.removeprefix("SHA256(").split(")= ")
            member = archive.extractfile(name)
            assert member is not None
            assert hashlib.sha256(member.read()).hexdigest() == sha256
        assert {member.mtime for member in archive} == {5}
        disk = archive.extractfile("disk.vmdk")
        assert disk is not None
        assert disk.read() == vmdk.read_bytes()
    assert out.getvalue()[257:265] == b"ustar\x0000"


def test_disk_that_an_appliance_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an OVA holds at most"):
        write_ova(tmp_path / "x", io.BytesIO(), Appliance("demo", "1", GIB, 8 * GIB), created=0)


# -- stamps


def test_vhd_gets_our_identity_and_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.vhd"
    footer = bytearray(512)
    footer[:8], footer[60:64] = b"conectix", (2).to_bytes(4, "big")
    footer[68:84] = os.urandom(16)
    path.write_bytes(b"disk" * 256 + footer)
    stamp_vhd(path, ID, 946684800 + 7)
    data = path.read_bytes()
    assert data[:1024] == b"disk" * 256
    new = data[1024:]
    assert new[68:84] == ID.bytes
    assert int.from_bytes(new[24:28], "big") == 7
    total = sum(new[:64]) + sum(new[68:])
    assert int.from_bytes(new[64:68], "big") == ~total & 0xFFFFFFFF


def test_vmdk_gets_our_content_id_and_name(tmp_path: Path) -> None:
    path = tmp_path / "x.vmdk"
    descriptor = b'# Disk\nCID=1f\nparentCID=ffffffff\nRW 2048 SPARSE "tmp.1234"\nddb.x = "1"\n'
    head = struct.pack("<4sIIQQQQ", b"KDMV", 3, 3, 2048, 128, 1, 2).ljust(512, b"\0")
    path.write_bytes(head + descriptor.ljust(1024, b"\0") + b"grains")
    stamp_vmdk(path, 0xABC, "disk.vmdk")
    data = path.read_bytes()
    assert data[512:1536].rstrip(b"\0") == (
        b'# Disk\nCID=00000abc\nparentCID=ffffffff\nRW 2048 SPARSE "disk.vmdk"\nddb.x = "1"\n'
    )
    assert data[1536:] == b"grains"


def vhdx(path: Path, sequence: tuple[int, int], log: bytes = b"entry") -> None:
    """The parts of a VHDX that carry identities, as [MS-VHDX] lays them out."""
    kib, region, log_offset = 1024, 2 * MIB, MIB
    data = bytearray(3 * MIB)
    data[:8] = b"vhdxfile"
    for offset, count in zip((64 * kib, 128 * kib), sequence, strict=True):
        data[offset : offset + 80] = struct.pack(
            "<4sIQ16s16s16sHHIQ",
            b"head",
            0,
            count,
            os.urandom(16),
            os.urandom(16),
            bytes(16),
            0,
            1,
            MIB,
            log_offset,
        )
    data[log_offset : log_offset + len(log)] = log
    guid = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
    data[192 * kib : 192 * kib + 48] = struct.pack("<4sIII16sQII", b"regi", 0, 1, 0, guid, region, MIB, 1)
    item = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746").bytes_le
    data[region : region + 56] = struct.pack("<8sHH20x16sII", b"metadata", 0, 1, item, 64 * kib, 16)
    path.write_bytes(data)


def test_vhdx_of_two_conversions_become_the_same(tmp_path: Path) -> None:
    for name, sequence in (("a", (700, 701)), ("b", (5, 6))):
        vhdx(tmp_path / name, sequence, log=os.urandom(50))
        stamp_vhdx(tmp_path / name, ID)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    header = bytearray(data[64 * 1024 : 68 * 1024])
    crc, header[4:8] = int.from_bytes(header[4:8], "little"), bytes(4)
    assert compute_crc32c(header) == crc
    assert [int.from_bytes(data[o + 8 : o + 16], "little") for o in (64 * 1024, 128 * 1024)] == [1, 2]
    assert data[2 * MIB + 64 * 1024 :][:16] == ID.bytes_le


def test_current_header_of_a_vhdx_stays_the_current_one(tmp_path: Path) -> None:
    vhdx(tmp_path / "a", (1 << 40, 255))
    stamp_vhdx(tmp_path / "a", ID)
    data = (tmp_path / "a").read_bytes()
    assert [int.from_bytes(data[o + 8 : o + 16], "little") for o in (64 * 1024, 128 * 1024)] == [2, 1]


def test_crc32c_is_castagnolis() -> None:
    assert compute_crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("content", [b"", bytes(4096), b"vhdxfile" + bytes(300 * 1024)])
def test_what_is_not_as_qemu_img_writes_it_is_not_stamped(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content.ljust(4096, b"\0"))
    with pytest.raises(ToolError, match="in a way we do not know"):
        stamp_vhd(path, ID, 0)
    with pytest.raises(ToolError, match="in a way we do not know"):
        stamp_vmdk(path, 1, "disk.vmdk")
    with pytest.raises(ToolError, match="in a way we do not know"):
        stamp_vhdx(path, ID)
