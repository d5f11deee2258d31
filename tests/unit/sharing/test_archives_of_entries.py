"""The archive of an entry: files arrive as they were, and nowhere else."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import InputError
from builder.core.files import hash_file
from builder.core.kept import TOOLS, derive_shared_name, keep
from builder.sharing.archive import list_files, unpack_archive, write_archive
from builder.sharing.places import DirectoryPlace
from tests.unit.sharing.conftest import INPUTS, Machines, cache_of

pytestmark = pytest.mark.unit


def test_links_modes_and_second_names_arrive_as_they_were(machines: Machines) -> None:
    def make(fresh: Path) -> None:
        (fresh / "bin").mkdir()
        (fresh / "bin/tool").write_text("#!")
        (fresh / "bin/tool").chmod(0o755)
        os.link(fresh / "bin/tool", fresh / "bin/same")
        (fresh / "sbin").symlink_to("/usr/bin")

    def fail(_: Path) -> None:
        raise AssertionError("made again")

    first, second = machines.add("first"), machines.add("second")
    entry = keep(first, TOOLS, INPUTS, make, QuietConsole())
    cache_of(first).push(derive_shared_name(TOOLS, entry.key), list_files(entry.path), first.root, seconds=1.0)
    brought = keep(second, TOOLS, INPUTS, fail, QuietConsole())
    assert (brought.path / "sbin").readlink() == Path("/usr/bin")
    assert os.access(brought.path / "bin/same", os.X_OK)
    assert (brought.path / "bin/same").read_text() == "#!"


def test_a_disk_keeps_its_holes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(1 << 30)
        for offset in (0, 300 << 20, (1 << 30) - 10):
            file.seek(offset)
            file.write(b"data" + bytes(2))
    packed = io.BytesIO()
    write_archive({"disk": disk}, packed)
    assert len(packed.getvalue()) < 1 << 20
    packed.seek(0)
    (tmp_path / "there").mkdir()
    unpack_archive(packed, tmp_path / "there")
    assert (tmp_path / "there/disk").stat().st_blocks * 512 < 10 << 20
    assert hash_file(tmp_path / "there/disk") == hash_file(disk)


def test_an_archive_cannot_write_outside(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        inside = tarfile.TarInfo("out/written")
        tar.addfile(inside, io.BytesIO())
    data.seek(0)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack_archive(data, tmp_path / "there")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_an_archive_has_files_directories_and_symbolic_links_alone(tmp_path: Path, kind: bytes) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
        other = tarfile.TarInfo("other")
        other.type, other.linkname = kind, "link"
        tar.addfile(other)
        written = tarfile.TarInfo("other")
        written.size = 6
        tar.addfile(written, io.BytesIO(b"theirs"))
    data.seek(0)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="other in the archive is no file, directory or symbolic link"):
        unpack_archive(data, tmp_path / "there")
    assert outside.read_text() == "mine"
    assert (tmp_path / "there/link").readlink() == outside


def test_a_name_cannot_lead_out_of_the_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no entry of a cache"):
        DirectoryPlace(tmp_path).read_entry("../../etc/passwd")
