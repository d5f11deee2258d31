"""The power may go at any moment of a first boot: the disk is brought to its state at every flush, and looked at.

Each state is either one that counts as not provisioned, and is begun anew, or one that has everything in it. It is
looked at with what the machine itself would use: the check of its initrd, which must have nothing to repair, and the
decision whether a boot is the first. In CI some moments are looked at, of a first boot without devices that
``test_damaged_state.py`` makes; all of them, and those of devices, with ``make slow-test``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from builder.core.errors import ToolError
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from firstboot.apply.disks.luks import ATTEMPT_MARK
from firstboot.apply.kernel.esp import ADDON
from firstboot.log import Log
from firstboot.places import Places
from firstboot.prepare import prepare
from tests.support.machines import build_text, started
from tests.support.state_partition import Check, State
from vm.disks import tamper
from vm.disks.write_log import replay
from vm.machine import Machine
from vm.spec import Disk

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "out" / "boot-tests" / "every-moment"
FILES = 40
CONFIG = "variant: buildos\nversion: 1.0.0\nhostname: every-moment\nstorage:\n  files:\n" + "".join(
    f"    - path: /{top}/bench/{number}\n      contents: {{inline: '{number} of many'}}\n"
    for number in range(FILES)
    for top in ("etc", "var/lib")
)
# All on the disk of the machine, so that there is one order of all writes: its partitions are there before.
DEVICES = """\
variant: buildos
version: 1.0.0
hostname: every-moment
kernel_arguments: {should_exist: [buildos.moment=1]}
storage:
  luks:
    - name: secret
      device: /dev/disk/by-partlabel/secret
  raid:
    - {name: mirror, level: raid1, devices: [/dev/disk/by-partlabel/mirror-a, /dev/disk/by-partlabel/mirror-b]}
  lvm:
    - name: store
      devices: [/dev/disk/by-partlabel/store-a, /dev/disk/by-partlabel/store-b]
      volumes: [{name: pool, size_mib: 48}]
  filesystems:
    - {device: /dev/mapper/secret, path: /var/lib/secret, format: ext4, with_mount_unit: true}
    - {device: /dev/md/mirror, path: /var/lib/mirror, format: ext4, with_mount_unit: true}
    - {device: /dev/store/pool, path: /var/lib/pool, format: ext4, with_mount_unit: true}
  files:
    - {path: /var/lib/secret/file, contents: {inline: secret}}
    - {path: /var/lib/mirror/file, contents: {inline: mirror}}
    - {path: /var/lib/pool/file, contents: {inline: pool}}
    - {path: /etc/marked, contents: {inline: marked}}
"""
DEFINITION = """\
name: moments
version: 1.0.0
features: [lvm]
outputs: [qcow2]
kernel: {command_line: [systemd.default_device_timeout_sec=infinity]}
"""
STATE_TYPE = "e1a84c7d-6b1b-4ee3-9d0c-6f2f3f6d5c1e"
MIB = 1 << 20
PARTITIONS = (("state", 768), ("secret", 64), ("mirror-a", 64), ("mirror-b", 64), ("store-a", 64), ("store-b", 64))


class Moment(NamedTuple):
    """What a machine would find after a power cut.

    Attributes:
        first: whether its next boot is a first boot.
        attempt: the one that was begun, if any.
        files: what is on the state partition.
    """

    first: bool
    attempt: str
    files: Path


class Watched:
    """A copy of a machine's disk that is brought to one moment after the other."""

    def __init__(self, tools: Tools, disk: Path) -> None:
        self.tools, self.disk = tools, disk
        self.check = Check(tools, disk.parent)
        self.copy = disk.with_name("partition")
        self.moments = self.whole = 0

    def copy_out(self, name: str, most: int | None = None) -> bool:
        """Copy what is not empty of a partition, or of its beginning; false before it is made."""
        listed = tamper.list_partitions(Disk(self.disk, format="raw"), self.tools)
        found = [each for each in listed if name in (each.name, each.type)]
        if not found:
            return False
        begin, end = found[0].start, found[0].start + min(found[0].size, most or found[0].size)
        with self.disk.open("rb", buffering=0) as source, self.copy.open("wb", buffering=0) as target:
            target.truncate(end - begin)
            at = begin
            while at < end:
                try:
                    at = os.lseek(source.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break  # nothing but a hole is left
                stop = min(os.lseek(source.fileno(), at, os.SEEK_HOLE), end)
                while at < stop:
                    source.seek(at)
                    target.seek(at - begin)
                    at += target.write(source.read(min(stop - at, 1 << 20)) or b"")
        return True

    def look(self) -> Moment:
        """What the machine would find now."""
        self.moments += 1
        root = self.disk.with_name("machine")
        shutil.rmtree(root, ignore_errors=True)
        for name in ("run/state", "dev", "sys"):
            (root / name).mkdir(parents=True)
        if not self.copy_out("state") or not self._is_ext4():
            return Moment(first=True, attempt="", files=root / "run/state")
        end = self.check(self.copy)
        assert end.kind == "in order", end.said
        State(self.copy, self.tools).files(root / "run/state")
        attempt = root / "run/state/firstboot/attempt"
        begun = json.loads(attempt.read_text())["attempt"] if attempt.exists() else ""
        kept = root.with_name("kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(root / "run/state", kept, symlinks=True)
        assert prepare(Places(root), Log(io.StringIO())) == 0, (root / "dev/console").read_text()
        first = (root / "run/build-os/first-boot").exists()
        self.whole += not first
        assert not (first and self.whole), "a machine that was provisioned is not any more"
        return Moment(first, begun, kept)

    def _is_ext4(self) -> bool:
        with self.copy.open("rb") as file:
            file.seek(1080)
            return file.read(2) == b"\x53\xef"


def each_moment(
    watched: Watched, log: Path, chosen: Callable[[int], bool] = lambda _number: True
) -> Iterator[tuple[int, Moment]]:
    """Bring the disk to one moment after the other, and look at all, or those that are chosen by their numbers."""
    with watched.disk.open("r+b") as file:
        for number, _ in enumerate(replay(log, file)):
            if chosen(number):
                yield number, watched.look()


def spread(log: Path, scratch: Path, most: int) -> Callable[[int], bool]:
    """So many moments, the last ones among them, where the machine becomes whole."""
    with scratch.open("w+b") as file:
        count = sum(1 for _ in replay(log, file))
    scratch.unlink()
    half = most // 2
    wanted = {count * each // half for each in range(half)} | set(range(count - 3 * half, count, 3))
    return lambda number: number in wanted


def raw_disk(manifest: Path, tools: Tools, path: Path) -> Path:
    """The image's disk as it is before its first boot."""
    source, kind = read_image(manifest).choose_disk()
    tools.run("qemu-img", "convert", "-f", kind, "-O", "raw", source, path)
    return path


@pytest.fixture(scope="module")
def log(demo: Path, store: Store) -> Iterator[Path]:
    """Everything that a machine wrote until it was provisioned and switched off."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    config = FOLDER.with_name("every-moment.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    with started(demo, FOLDER, store, config=config, boot="kernel", memory=2048, log_writes=True) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        machine.shutdown()
    written = FOLDER / "disk0.writes"
    yield written
    written.unlink()


def test_no_moment_leaves_a_machine_that_is_half_provisioned(
    log: Path, demo: Path, tools: Tools, tmp_path: Path
) -> None:
    watched = Watched(tools, raw_disk(demo, tools, tmp_path / "disk.raw"))
    for number, moment in each_moment(watched, log):
        if moment.first:
            continue
        files = moment.files
        assert json.loads((files / "firstboot/complete").read_text())["config_sha256"]
        assert (files / "etc/upper/hostname").read_text() == "every-moment\n"
        assert json.loads((files / "var/lib/firstboot/result.json").read_text())["result"] == "ok"
        for each in range(FILES):
            for top in ("etc/upper", "var/lib"):
                assert (files / top / f"bench/{each}").read_text() == f"{each} of many", (number, top, each)
    print(f"{watched.moments} moments, {watched.whole} of them with a machine that is whole")
    assert 0 < watched.whole < watched.moments


class Recorded(NamedTuple):
    """A first boot with devices: the disk before it, and everything that was written to it."""

    manifest: Path
    before: Path
    log: Path


@pytest.fixture(scope="module")
def recorded(tools: Tools, store: Store) -> Iterator[Recorded]:
    """With LUKS, RAID and LVM, and an addon on the EFI system partition, for which the machine starts twice."""
    out = FOLDER.with_name("moments-image")
    manifest = build_text(DEFINITION, out, store)
    before = raw_disk(manifest, tools, FOLDER.with_name("moments.raw"))
    os.truncate(before, before.stat().st_size + sum(size for _, size in PARTITIONS) * MIB + 4 * MIB)
    # Room for the table at the new end, then the partitions; the last one takes what is left.
    tools.run("sfdisk", "--quiet", "--relocate", "gpt-bak-std", before)
    types = {"state": STATE_TYPE}
    rows = [f"size={size}M, name={name}, type={types.get(name, 'L')}" for name, size in PARTITIONS]
    tools.run("sfdisk", "--quiet", "--append", before, input="".join(f"{row}\n" for row in rows).encode())
    place = tamper.find_partition(tamper.list_partitions(Disk(before, format="raw"), tools), "state")
    tools.run(
        "mke2fs", "-q", "-t", "ext4", "-E", f"offset={place.start}", "-L", "state", before, f"{place.size // 1024}k"
    )
    with begun(manifest, before, FOLDER.with_name("every-moment-of-devices"), store, log_writes=True) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        require_whole(machine)
        machine.shutdown()
        log = machine.folder.root / "disk0.writes"
    yield Recorded(manifest, before, log)
    for path in (before, log):
        path.unlink()


@contextmanager
def begun(manifest: Path, disk: Path, folder: Path, store: Store, *, log_writes: bool = False) -> Iterator[Machine]:
    """A machine that is switched on with this disk, which is not changed."""
    config = folder.with_name(f"{folder.name}.yaml")
    config.write_text(DEVICES, encoding="utf-8")
    options = {"config": config, "memory": 2048, "seconds": 900, "log_writes": log_writes}
    with started(manifest, folder, store, disk=replace_base(disk), **options) as machine:
        yield machine


def replace_base(path: Path) -> Callable[[Disk], Disk]:
    return lambda disk: replace(disk, base=path, base_format="raw")


def require_whole(machine: Machine) -> None:
    for name in ("secret", "mirror", "pool"):
        assert machine.read(f"/var/lib/{name}/file") == name
        machine.succeed("mountpoint", f"/var/lib/{name}")
    assert machine.read("/etc/marked") == "marked"
    assert "buildos.moment=1" in machine.read("/proc/cmdline").split()
    assert machine.succeed("systemctl list-units --failed --no-legend --plain") == ""


class Devices:
    """What is on the devices at a moment, by the programs of the tools tree."""

    def __init__(self, watched: Watched) -> None:
        self.watched, self.tools = watched, watched.tools

    def kind(self, name: str) -> str:
        """What is on a partition, by what libblkid knows it by; empty if nothing is."""
        self.watched.copy_out(name, MIB)
        data = self.watched.copy.read_bytes()
        if data.startswith(b"LUKS\xba\xbe"):
            return "crypto_LUKS"
        if data[4096:4100] == bytes.fromhex("fc4e2ba9"):
            return "linux_raid_member"
        return "LVM2_member" if b"LABELONE" in (data[at : at + 8] for at in range(0, 2048, 512)) else ""

    def subsystem(self) -> str:
        """What the header of the encrypted device says; empty if there is none."""
        self.watched.copy_out("secret", 16 * MIB)
        with suppress(ToolError):
            said = self.tools.run("cryptsetup", "luksDump", self.watched.copy)
            return re.findall(r"^Subsystem:\s*(.*)$", said, re.MULTILINE)[0]
        return ""

    def opens_with(self, key: Path) -> bool:
        self.watched.copy_out("secret", 16 * MIB)
        argv = ("cryptsetup", "open", "--test-passphrase", "--key-file", key, self.watched.copy)
        with suppress(ToolError):
            self.tools.run(*argv)
            return True
        return False

    def addon(self) -> bytes | None:
        """The addon on the EFI system partition; its file system must be one that firmware can read."""
        assert self.watched.copy_out("esp")
        with suppress(ToolError):
            target = self.watched.copy.with_name("addon")
            target.unlink(missing_ok=True)
            self.tools.run("mcopy", "-i", self.watched.copy, f"::{ADDON}", target)
            return target.read_bytes()
        return None

    def kernels(self) -> set[str]:
        """Hashes of the unified kernel images on it."""
        target = self.watched.copy.with_name("kernels")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        self.tools.run("mcopy", "-s", "-i", self.watched.copy, "::EFI/Linux", target)
        files = [path for path in target.rglob("*.efi") if path.parent.name == "Linux"]
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_no_moment_with_devices_leaves_a_machine_that_cannot_go_on(
    recorded: Recorded, tools: Tools, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    subprocess.run(["cp", "--sparse=always", recorded.before, disk], check=True)
    watched = Watched(tools, disk)
    devices = Devices(watched)
    devices.addon()
    kernels = devices.kernels()
    seen: dict[str, int] = {}
    last: bytes | None = None
    for number, moment in each_moment(watched, recorded.log):
        header = devices.subsystem()
        addon = devices.addon()
        if addon is not None and addon != last:
            assert last is None, "the addon is there in parts"
            last = addon
        assert last is None or addon == last
        if addon is not None and "addon" not in seen:
            assert devices.kernels() == kernels
        if moment.first:
            # What is on the encrypted device is nothing, or is known as this first boot's own, and made anew.
            assert devices.kind("secret") != "crypto_LUKS" or header == ATTEMPT_MARK + moment.attempt, number
        else:
            key = moment.files / "etc/upper/luks/secret"
            assert devices.opens_with(key), number
            assert addon is not None
            assert {devices.kind(name) for name in ("mirror-a", "mirror-b")} == {"linux_raid_member"}
            assert {devices.kind(name) for name in ("store-a", "store-b")} == {"LVM2_member"}
            assert (moment.files / "etc/upper/marked").read_text() == "marked"
        for name, there in (("LUKS", header), ("addon", addon), ("provisioned", not moment.first)):
            if there:
                seen.setdefault(name, number)
        for name in ("mirror-a", "mirror-b", "store-a", "store-b"):
            if devices.kind(name):
                seen.setdefault(name, number)
    print(f"{watched.moments} moments, {watched.whole} with a machine that is whole; first seen: {seen}")
    assert 0 < watched.whole < watched.moments
    assert {"LUKS", "addon", "provisioned"} <= seen.keys()


@pytest.mark.parametrize("what", ["secret", "mirror-a", "store-a", "store-b"])
def test_a_machine_goes_on_from_where_a_device_was_begun(
    recorded: Recorded, tools: Tools, store: Store, tmp_path: Path, what: str
) -> None:
    """The power goes at the flush after which there is something on a device for the first time."""
    disk = tmp_path / "disk.raw"
    subprocess.run(["cp", "--sparse=always", recorded.before, disk], check=True)
    watched = Watched(tools, disk)
    devices = Devices(watched)
    with disk.open("r+b") as file:
        found = next(number for number, _ in enumerate(replay(recorded.log, file)) if devices.kind(what))
    assert watched.look().first
    print(f"{what}: the power goes at moment {found}")
    with begun(recorded.manifest, disk, FOLDER.with_name("goes-on"), store) as machine:
        machine.wait_firstboot()
        machine.wait_unit("multi-user.target")
        require_whole(machine)
