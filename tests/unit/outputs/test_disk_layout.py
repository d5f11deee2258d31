"""The disk's partitions, and the refusals before anything is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.core.errors import InputError
from builder.definition.model import Compression, Disk
from builder.definition.scalars import MIB, Size
from builder.outputs.disk import make_disk, make_partition_files, require_room, write_esp_files
from builder.outputs.image_parts import ImageSettings
from builder.outputs.root import Root, make_compression_arguments, make_stable_uuid
from builder.outputs.uki import (
    NO_ROOT_HASH,
    fill_command_line,
    find_kernel,
    make_command_line,
    make_uki,
    read_parts,
    write_root_hash,
)
from builder.products.product import Piece
from builder.tree.node import make_file
from builder.tree.tree import Tree, TreeError
from tests.support.small_image import make_table
from update.gpt import HEAD

pytestmark = pytest.mark.unit

GIB = 1 << 30
HASH = "00112233445566778899aabbccddeeff" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
LAYOUT = Disk()
ROOT = Root(Path("/store/root.erofs"), Path("/store/root.verity"), HASH)


def test_the_partitions_are_those_of_two_slots() -> None:
    files = make_partition_files(LAYOUT, ROOT, arch="amd64", name="demo_1.0", esp_files=Path("/scratch/esp"))
    uuids = {
        "esp": make_stable_uuid("esp", "demo_1.0"),
        "signature": make_stable_uuid("root-x86-64-verity-sig", "A"),
        "root-b": make_stable_uuid("root-x86-64", "B"),
        "verity-b": make_stable_uuid("root-x86-64-verity", "B"),
        "signature-b": make_stable_uuid("root-x86-64-verity-sig", "B"),
    }
    assert len(set(uuids.values())) == 5
    assert files == {
        "10-esp.conf": "[Partition]\nType=esp\nLabel=esp\n"
        f"UUID={uuids['esp']}\nSizeMinBytes=1073741824\nSizeMaxBytes=1073741824\n"
        "Format=vfat\nCopyFiles=/scratch/esp:/\n",
        "20-root-a.conf": "[Partition]\nType=root-x86-64\nLabel=demo_1.0\n"
        "UUID=00112233-4455-6677-8899-aabbccddeeff\nSizeMinBytes=2147483648\nSizeMaxBytes=2147483648\n"
        "ReadOnly=yes\n",
        "21-verity-a.conf": "[Partition]\nType=root-x86-64-verity\nLabel=demo_1.0\n"
        "UUID=0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\nSizeMinBytes=33554432\nSizeMaxBytes=33554432\n"
        "ReadOnly=yes\n",
        "22-signature-a.conf": "[Partition]\nType=root-x86-64-verity-sig\nLabel=demo_1.0\n"
        f"UUID={uuids['signature']}\nSizeMinBytes=16384\nSizeMaxBytes=16384\n",
        "30-root-b.conf": "[Partition]\nType=root-x86-64\nLabel=_empty\n"
        f"UUID={uuids['root-b']}\nSizeMinBytes=2147483648\nSizeMaxBytes=2147483648\n",
        "31-verity-b.conf": "[Partition]\nType=root-x86-64-verity\nLabel=_empty\n"
        f"UUID={uuids['verity-b']}\nSizeMinBytes=33554432\nSizeMaxBytes=33554432\n",
        "32-signature-b.conf": "[Partition]\nType=root-x86-64-verity-sig\nLabel=_empty\n"
        f"UUID={uuids['signature-b']}\nSizeMinBytes=16384\nSizeMaxBytes=16384\n",
    }


def test_a_signature_is_copied_into_the_slot_that_it_is_for() -> None:
    files = make_partition_files(
        LAYOUT, ROOT, arch="amd64", name="demo_1.0", esp_files=Path("/e"), signature=Path("/scratch/signature")
    )
    assert [name for name, text in files.items() if "CopyBlocks=/scratch/signature\n" in text] == [
        "22-signature-a.conf"
    ]
    assert "ReadOnly=yes\n" in files["22-signature-a.conf"]


def test_another_architecture_has_other_types_and_the_same_shape() -> None:
    files = make_partition_files(LAYOUT, ROOT, arch="arm64", name="demo_1.0", esp_files=Path("/e"))
    types = [re.findall(r"^Type=(.*)$", text, re.M)[0] for text in files.values()]
    slot = ["root-arm64", "root-arm64-verity", "root-arm64-verity-sig"]
    assert types == ["esp", *slot, *slot]


@pytest.mark.parametrize("slot", [1, MIB, 512 * MIB, 2 * GIB, 3 * GIB, 3_355_443_200, 3_355_443_201, 64 * GIB])
def test_a_hash_tree_has_room_for_any_slot_and_not_much_more(slot: int) -> None:
    # veritysetup(8): a hash of 32 bytes for each block of 4096, and the same again for each level, and a superblock.
    blocks = -(-slot // 4096)
    needed = 4096
    while blocks > 1:
        blocks = -(-blocks // 128)
        needed += blocks * 4096
    verity = Disk(slot=Size(slot)).verity
    assert needed <= verity < needed * 1.28 + 32 * MIB
    assert verity % (32 * MIB) == 0


@pytest.mark.parametrize("slot", [512 * MIB, 2 * GIB, 5 * GIB + MIB])
def test_the_least_disk_holds_what_repart_is_told_to_write(slot: int) -> None:
    disk = Disk(slot=Size(slot))
    texts = make_partition_files(disk, ROOT, arch="amd64", name="demo", esp_files=Path("/esp")).values()
    sizes = [int(re.findall(r"SizeMinBytes=(\d+)", text)[0]) for text in texts]
    assert len(sizes) == 7
    tables = disk.minimum - sum(sizes) - disk.state_minimum
    assert 4 * MIB <= tables < 5 * MIB


def test_seventy_percent_is_room_enough_and_more_is_not() -> None:
    require_room("the root slot", 700, 1000, "disk.slot")
    with pytest.raises(InputError) as caught:
        require_room("the root slot", 710_000_000, 1_000_000_000, "disk.slot")
    assert str(caught.value) == (
        "the root slot would be 71 % full: 710.0 MB of 1.0 GB\n"
        "  updates need room: an image fails to build when a slot is over 70 % full\n"
        "  = raise disk.slot, or take packages out"
    )


def test_a_root_that_is_too_large_is_refused_before_a_program_runs(tmp_path: Path, fake_tools: object) -> None:
    image = tmp_path / "root.erofs"
    with image.open("wb") as sparse:
        sparse.truncate(3 * GIB // 2)
    root = Root(image, tmp_path / "verity", HASH)
    (tmp_path / "esp").mkdir()
    with pytest.raises(InputError, match="the root slot would be 75 % full"):
        make_disk(LAYOUT, root, fake_tools, tmp_path, tmp_path / "out", arch="amd64", name="a", esp=tmp_path / "esp")
    image.write_bytes(b"small")
    with (tmp_path / "esp" / "demo.efi").open("wb") as sparse:
        sparse.truncate(GIB)
    with pytest.raises(InputError, match="the EFI system partition would be 100 % full") as caught:
        make_disk(LAYOUT, root, fake_tools, tmp_path, tmp_path / "out", arch="amd64", name="a", esp=tmp_path / "esp")
    assert "disk.esp" in str(caught.value)
    assert fake_tools.calls == []


def test_repart_is_told_everything_that_would_differ_between_machines(tmp_path: Path, fake_tools: object) -> None:
    (tmp_path / "esp").mkdir()
    (tmp_path / "root").write_bytes(b"x")
    written = {}

    def repart(*arguments: str) -> str:
        directory = next(a.removeprefix("--definitions=") for a in arguments if a.startswith("--definitions="))
        written.update({path.name: path.read_text() for path in sorted(Path(directory).iterdir())})
        Path(arguments[-1]).write_bytes(make_table([*written.values()]))
        return ""

    fake_tools.programs["systemd-repart"] = repart
    root = Root(tmp_path / "root", tmp_path / "verity", HASH)
    pieces = make_disk(
        LAYOUT, root, fake_tools, tmp_path, tmp_path / "out", arch="amd64", name="demo", esp=tmp_path / "esp"
    )
    places = [HEAD + LAYOUT.esp, HEAD + LAYOUT.esp + LAYOUT.slot]
    assert pieces == (Piece(places[0], root.image), Piece(places[1], root.hash_tree))
    assert written == dict(make_partition_files(LAYOUT, root, arch="amd64", name="demo", esp_files=tmp_path / "esp"))
    (call,) = fake_tools.calls
    assert f"--seed={make_stable_uuid('disk', 'demo')}" in call
    assert f"--size={8 * GIB}" in call
    assert "--offline=yes" in call
    assert call[-1] == str(tmp_path / "out")


# --- what is on the ESP ----------------------------------------------------------------------------


def test_the_esp_has_a_loader_where_firmware_looks_and_the_kernel_where_the_loader_looks(
    image: Tree, tmp_path: Path
) -> None:
    uki = tmp_path / "uki.efi"
    uki.write_text("uki")
    esp = tmp_path / "esp"
    write_esp_files(image, uki, esp, arch="amd64", name="demo_1.0")
    assert {str(path.relative_to(esp)): path.read_text() for path in esp.rglob("*") if path.is_file()} == {
        "EFI/BOOT/BOOTX64.EFI": "loader x64",
        "EFI/systemd/systemd-bootx64.efi": "loader x64",
        "EFI/Linux/demo_1.0.efi": "uki",
        "loader/loader.conf": "timeout 0\nconsole-mode keep\neditor no\n",
    }


def test_an_image_without_a_loader_is_refused(image: Tree, tmp_path: Path) -> None:
    (tmp_path / "uki").touch()
    image.remove("/usr/lib/systemd/boot/efi/systemd-bootaa64.efi")
    with pytest.raises(TreeError, match=r"the image has no .*/systemd-bootaa64\.efi"):
        write_esp_files(image, tmp_path / "uki", tmp_path / "esp", arch="arm64", name="demo_1.0")


# --- kernel and command line -----------------------------------------------------------------------


def test_the_kernel_is_told_where_the_verified_root_is_and_then_what_the_user_wants() -> None:
    assert make_command_line(HASH, ("console=ttyS0", "quiet"), import_credentials=True) == (
        f"roothash={HASH} systemd.verity=yes systemd.verity_root_options=panic-on-corruption root=/dev/mapper/root "
        "rootfstype=erofs ro console=ttyS0 quiet"
    )


@pytest.mark.parametrize(
    ("asked", "signed", "all_of_them"),
    [(None, False, True), (None, True, False), ((), False, False), (("app.*",), False, False), (("*",), True, True)],
)
def test_a_signed_image_takes_no_credentials_of_the_platform_unless_its_definition_asks(
    asked: tuple[str, ...] | None, *, signed: bool, all_of_them: bool
) -> None:
    wanted = ImageSettings("a", "1", "amd64", Compression.LZ4, None, (), (), Path(), LAYOUT, credentials=asked)
    assert wanted.can_accept_credentials(signed=signed) is all_of_them
    words = make_command_line(HASH, (), import_credentials=all_of_them).split()
    assert ("systemd.import_credentials=no" in words) is not all_of_them


def test_nothing_can_be_put_behind_the_command_line_of_a_signed_image() -> None:
    words = make_command_line(HASH, ("quiet",), import_credentials=False)
    line = fill_command_line(words)
    assert len(line) == 2047
    assert line.startswith(f"{words} build_os.full=-")
    assert set(line.removeprefix(f"{words} build_os.full=")) == {"-"}


def test_a_command_line_that_cannot_be_filled_up_is_not_signed() -> None:
    assert len(fill_command_line("x" * (2047 - len(" build_os.full=-")))) == 2047
    with pytest.raises(InputError, match="1 more than a signed one can have"):
        fill_command_line("x" * (2048 - len(" build_os.full=-")))


def test_the_kernel_is_found_where_packages_or_seal_put_it(image: Tree) -> None:
    assert find_kernel(image).content.read() == b"kernel"
    image.remove("/usr/lib/modules/6.12/vmlinuz")
    image.put("/boot/vmlinuz-6.12", make_file("in boot", origin="package:a"))
    assert find_kernel(image).content.read() == b"in boot"
    image.remove("/boot/vmlinuz-6.12")
    with pytest.raises(TreeError, match=r"the image has no /boot/vmlinuz-6\.12"):
        find_kernel(image)


def test_the_unified_image_is_joined_from_the_images_own_parts(image: Tree, tmp_path: Path, fake_tools: object) -> None:
    seen = {}

    def ukify(verb: str, *options: str) -> str:
        seen.update(option.removeprefix("--").split("=", 1) for option in options)
        for name in ("linux", "stub"):
            seen[name] = Path(seen[name]).read_text()
        for name in ("cmdline", "os-release"):
            seen[name] = Path(seen[name].removeprefix("@")).read_text()
        return ""

    fake_tools.programs["ukify"] = ukify
    words = make_command_line(HASH, (), import_credentials=True)
    parts = read_parts(image, "amd64")
    make_uki(parts, fake_tools, tmp_path, tmp_path / "out", arch="amd64", initrd=tmp_path / "initrd", cmdline=words)
    assert seen == {
        "linux": "kernel",
        "stub": "stub x64",
        "os-release": "x",
        "cmdline": words,
        "uname": "6.12",
        "efi-arch": "x64",
        "initrd": str(tmp_path / "initrd"),
        "output": str(tmp_path / "out"),
    }


def test_a_root_hash_is_written_where_its_place_was_kept(tmp_path: Path) -> None:
    def words(roothash: str) -> str:
        return make_command_line(roothash, ("quiet",), import_credentials=True)

    template = tmp_path / "template"
    template.write_text(f"MZ{words(NO_ROOT_HASH)}end")
    write_root_hash(template, tmp_path / "out", HASH)
    assert (tmp_path / "out").read_text() == f"MZ{words(HASH)}end"


# --- identities ------------------------------------------------------------------------------------


def test_uuids_depend_on_every_part_and_on_nothing_else() -> None:
    assert make_stable_uuid("a", "b") == make_stable_uuid("a", "b")
    assert (
        len(
            {make_stable_uuid("a", "b"), make_stable_uuid("ab"), make_stable_uuid("a", "c"), make_stable_uuid("b", "a")}
        )
        == 4
    )


def test_partition_uuids_are_the_halves_of_the_root_hash() -> None:
    assert str(ROOT.data_uuid) == "00112233-4455-6677-8899-aabbccddeeff"
    assert str(ROOT.hash_uuid) == "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


@pytest.mark.parametrize(
    ("compression", "level", "first"),
    [
        ("lz4", None, "-zlz4"),
        ("lz4hc", None, "-zlz4hc,level=9"),
        ("lz4hc", 12, "-zlz4hc,level=12"),
        ("zstd", None, "-zzstd,level=3"),
        ("zstd", 19, "-zzstd,level=19"),
    ],
)
def test_compression_is_told_to_mkfs(compression: str, level: int | None, first: str) -> None:
    assert make_compression_arguments(compression, level)[0] == first
