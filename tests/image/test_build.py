"""What a build leaves: read back by code that is not the code that wrote it."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from builder.core.tools import Tools
from builder.outputs.hash_tree import write_hash_tree

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parent.parent.parent
SECTOR = 512


@pytest.fixture(scope="module")
def manifest(demo: Path) -> dict:
    return json.loads(demo.read_text())


@pytest.fixture(scope="module")
def raw(demo: Path, manifest: dict, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    tools.run("qemu-img", "convert", "-O", "raw", demo.parent / manifest["artifacts"]["qcow2"]["path"], path)
    return path


def partitions(raw: Path) -> list[dict]:
    """The primary GPT, by UEFI 2.10 section 5.3."""
    with raw.open("rb") as file:
        file.seek(SECTOR)
        header = file.read(92)
        assert header[:8] == b"EFI PART"
        entry_lba, count, size = struct.unpack_from("<QII", header, 72)
        file.seek(entry_lba * SECTOR)
        found = []
        for _ in range(count):
            entry = file.read(size)
            if entry[:16] == bytes(16):
                continue
            first, last, flags = struct.unpack_from("<QQQ", entry, 32)
            found.append(
                {
                    "type": uuid.UUID(bytes_le=entry[:16]),
                    "uuid": uuid.UUID(bytes_le=entry[16:32]),
                    "start": first * SECTOR,
                    "size": (last - first + 1) * SECTOR,
                    "flags": flags,
                    "label": entry[56:128].decode("utf-16-le").rstrip("\0"),
                }
            )
        return found


def test_every_artifact_is_what_the_manifest_says(demo: Path, manifest: dict) -> None:
    assert {"qcow2", "uki", "kernel", "initrd"} <= manifest["artifacts"].keys()
    for artifact in manifest["artifacts"].values():
        path = demo.parent / artifact["path"]
        assert path.stat().st_size == artifact["size"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact["sha256"]


def test_the_disk_has_two_slots_and_room_for_the_state(raw: Path, manifest: dict) -> None:
    name = f"{manifest['name']}_{manifest['version']}"
    found = partitions(raw)
    assert [p["label"] for p in found] == ["esp", name, name, name, "_empty", "_empty", "_empty"]
    # UAPI.2: the partitions' UUIDs are the halves of the root hash, and the firmware's flag says read-only.
    assert found[1]["uuid"] == uuid.UUID(manifest["roothash"][:32])
    assert found[2]["uuid"] == uuid.UUID(manifest["roothash"][-32:])
    assert all(p["flags"] >> 60 & 1 for p in found[1:3])
    assert found[1]["size"] == found[4]["size"]
    assert found[2]["size"] == found[5]["size"]
    end = max(p["start"] + p["size"] for p in found)
    assert raw.stat().st_size - end > 1 << 30


def test_the_backup_partition_table_is_at_the_very_end(raw: Path) -> None:
    with raw.open("rb") as file:
        file.seek(-SECTOR, 2)
        assert file.read(8) == b"EFI PART"


@pytest.mark.parametrize("blocks", [1, 2, 129])
def test_a_hash_tree_is_what_veritysetup_makes(tools: Tools, tmp_path: Path, blocks: int) -> None:
    image, salt, name = tmp_path / "image", b"s" * 32, uuid.UUID(int=7)
    image.write_bytes(bytes(range(256)) * (blocks * 16))
    ours = write_hash_tree(image, tmp_path / "ours", salt=salt, uuid=name)
    said = tools.run("veritysetup", "format", f"--salt={salt.hex()}", f"--uuid={name}", image, tmp_path / "theirs")
    assert ours in said
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_root_verifies_and_one_changed_bit_is_found(
    raw: Path, manifest: dict, tools: Tools, tmp_path: Path
) -> None:
    found = partitions(raw)
    root, hashes = tmp_path / "root", tmp_path / "hashes"
    for target, partition in ((root, found[1]), (hashes, found[2])):
        with raw.open("rb") as file:
            file.seek(partition["start"])
            target.write_bytes(file.read(300 << 20 if target is root else partition["size"]))
    tools.run("veritysetup", "verify", root, hashes, manifest["roothash"])
    # In the superblock of the hash tree: how many blocks there are. In the tree: the first hash.
    for offset in (72, 4096):
        damaged = tmp_path / "damaged"
        data = bytearray(hashes.read_bytes())
        data[offset] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(Exception, match="veritysetup failed"):
            tools.run("veritysetup", "verify", root, damaged, manifest["roothash"])
    with root.open("r+b") as file:
        file.seek(100 << 20)
        byte = file.read(1)[0]
        file.seek(100 << 20)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(Exception, match="veritysetup failed"):
        tools.run("veritysetup", "verify", root, hashes, manifest["roothash"])


def test_the_root_is_a_sound_erofs(raw: Path, tools: Tools, tmp_path: Path) -> None:
    partition = partitions(raw)[1]
    root = tmp_path / "root"
    with raw.open("rb") as file:
        file.seek(partition["start"])
        root.write_bytes(file.read(300 << 20))
    tools.run("fsck.erofs", root)


def test_the_tables_of_the_disk_are_sound(demo: Path, raw: Path, manifest: dict, tools: Tools) -> None:
    said = tools.run("sfdisk", "--verify", raw)
    assert "No errors detected" in said
    tools.run("qemu-img", "check", demo.parent / manifest["artifacts"]["qcow2"]["path"])


def test_the_uki_holds_the_root_hash(demo: Path, manifest: dict) -> None:
    data = (demo.parent / manifest["artifacts"]["uki"]["path"]).read_bytes()
    sections = pe_sections(data)
    assert [name for name in (".linux", ".initrd", ".cmdline", ".osrel", ".uname") if name not in sections] == []
    command_line = sections[".cmdline"].rstrip(b"\0").decode()
    assert f"roothash={manifest['roothash']}" in command_line.split()
    assert command_line == manifest["command_line"]
    assert f"IMAGE_VERSION={manifest['version']}" in sections[".osrel"].decode()


def pe_sections(data: bytes) -> dict[str, bytes]:
    """The sections of an EFI program (PE/COFF specification, section table)."""
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    assert data[pe : pe + 4] == b"PE\0\0"
    count, optional = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    assert struct.unpack_from("<H", data, pe + 24 + 68)[0] == 0x0A  # an EFI application
    table = pe + 24 + optional
    sections = {}
    for index in range(count):
        entry = data[table + 40 * index : table + 40 * index + 40]
        size, _, length, offset = struct.unpack_from("<IIII", entry, 8)
        sections[entry[:8].rstrip(b"\0").decode()] = data[offset : offset + min(size, length)]
    return sections


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    """In a directory of its own: other tests may build the demo beside this one."""

    def build() -> tuple[str, dict[str, int]]:
        done = build_os("build", REPOSITORY / "configs" / "demo.yaml", "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        files = [path for path in (tmp_path / "out").iterdir() if path.name not in (".lock", "build.log")]
        return done.stderr, {path.name: path.stat().st_mtime_ns for path in files if path.is_file()}

    said, before = build()
    assert "nothing to do" not in said
    said, after = build()
    assert "nothing to do" in said
    assert after == before


def build_os(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "builder", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
