"""The power may go at any moment of an update: the disk is brought to its state at every flush, and looked at.

Until the new kernel image has its name and its content, the EFI system partition has the old one alone, and that is
whole: FAT may have the name before the content, and firmware starts no such file. From then on it has both, and the
slot of the new one holds what was published. There is no third state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from builder.core.console import QuietConsole
from builder.core.errors import ToolError
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.boot.test_updates import DEFINITION, build_version
from tests.support.machines import booted
from tests.support.payloads import make_carrier, write_payload
from update.documents import Release
from update.gpt import HEAD, Partition, parse_gpt
from vm.disks.write_log import replay

pytestmark = [pytest.mark.boot, pytest.mark.slow]

IMAGES = "EFI/Linux"
CHUNK = 1 << 20


class Recorded(NamedTuple):
    """An update: the disk before the machine was made, and all that was written until the new version lay there."""

    before: Path
    log: Path
    old: bytes
    release: Release
    tools: Tools


@pytest.fixture(scope="module")
def recorded(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    assert "updates" in DEFINITION
    old, new = (build_version(version, store) for version in "12")
    image, room = read_image(old), tmp_path_factory.mktemp("moments")
    tools = Tools(image.tools, QuietConsole())
    release = write_payload(new, room / "versions" / "2")
    carrier = make_carrier(tools, room / "versions", room / "carrier.erofs")
    folder = room / "machine"
    with booted(old, folder, store, media=[carrier], memory=768, seconds=900, log_writes=True) as machine:
        machine.succeed("/bin/sh", "-c", "mkdir -p /run/versions && mount -t erofs -o ro /dev/vdb /run/versions")
        machine.succeed("os-update", "apply", "--from", "/run/versions/2")
        machine.shutdown()
    before = room / "disk.raw"
    source, kind = image.choose_disk()
    tools.run("qemu-img", "convert", "-f", kind, "-O", "raw", source, before)
    log = folder / "disk0.writes"
    yield Recorded(before, log, image.require_artifact("uki").path.read_bytes(), release, tools)
    log.unlink()


class Disk:
    """A disk at one moment."""

    def __init__(self, recorded: Recorded) -> None:
        self.path, self.tools = recorded.before, recorded.tools

    def list_partitions(self) -> list[Partition]:
        with self.path.open("rb") as file:
            return list(parse_gpt(file.read(HEAD)))

    def list_images(self) -> list[str]:
        """Names on the EFI system partition, which must be a file system that firmware can read."""
        said = self.tools.run("mdir", "-b", "-i", self._esp(), f"::{IMAGES}")
        return sorted(line.rpartition("/")[2] for line in said.splitlines() if line.strip())

    def read_image(self, name: str) -> bytes:
        target = self.path.with_name("image.efi")
        target.unlink(missing_ok=True)
        try:
            self.tools.run("mcopy", "-n", "-i", self._esp(), f"::{IMAGES}/{name}", target)
        except ToolError as error:
            raise AssertionError(f"{name} cannot be read") from error
        return target.read_bytes()

    def hash_part(self, kind: str, size: int, label: str) -> str:
        part = next(part for part in self.list_partitions() if part.type == kind and part.name == label)
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(part.start)
            while size and (data := file.read(min(CHUNK, size))):
                digest.update(data)
                size -= len(data)
        return digest.hexdigest()

    def _esp(self) -> str:
        esp = next(part for part in self.list_partitions() if part.type == "esp")
        return f"{self.path}@@{esp.start}"


def test_every_flush_leaves_the_old_version_or_the_new_one(recorded: Recorded) -> None:
    disk, release = Disk(recorded), recorded.release
    states: list[str] = []
    before: list[str] = []
    empty = 0
    with recorded.before.open("r+b") as file:
        for number, _ in enumerate(replay(recorded.log, file)):
            names = disk.list_images()
            assert "updated_1.efi" in names, number
            new = [name for name in names if name.startswith("updated_2")]
            if new and not disk.read_image(new[0]):
                new, names = [], [*names, "without content"]
                empty += 1
            if names != before or number % 50 == 0:
                assert disk.read_image("updated_1.efi") == recorded.old, number
            if new and names != before:
                assert new == ["updated_2+1-0.efi"], number
                assert hashlib.sha256(disk.read_image(new[0])).hexdigest() == release.parts["uki"].sha256, number
                for name, kind in (("root", "root"), ("verity", "root-verity")):
                    part = release.parts[name]
                    assert disk.hash_part(kind, part.size, "updated_2") == part.sha256, (number, name)
            states.append("new" if new else "old")
            before = names
    rename = states.index("new")
    assert states == ["old"] * rename + ["new"] * (len(states) - rename)
    print(f"{len(states)} flushes of a machine's first boot and its update: {rename} old, {len(states) - rename} new")
    print(f"of the old, {empty} have the new kernel image's name without its content")
