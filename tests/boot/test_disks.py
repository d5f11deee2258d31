"""More disks: partitions, a mirror, encryption, swap and filesystems at first boot, and the same at the next."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from builder.core.store import Store
from tests.support.machines import booted, build_text
from vm.machine import Machine
from vm.spec.extra_disk import ExtraDisk

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs" / "machines" / "disks.yaml"
VOLUMES = CONFIG.with_name("volumes.yaml")
# Devices have 90 s to appear, which says nothing under emulation on a busy computer.
DEFINITION = """\
name: disks
version: 1.0.0
features: [lvm]
outputs: [qcow2]
kernel: {command_line: [systemd.default_device_timeout_sec=infinity]}
"""
ARGUMENTS = "kernel_arguments: {should_exist: [quiet, nosmt, buildos.test=1], should_not_exist: [splash]}\n"
ARCHIVE = """storage:
  archives:
    - path: /opt/tool
      source: data:;base64,{data}
      verification: {{hash: sha256-{digest}}}
      strip: 1
      user: {{name: core}}
"""
# The passwords of the example are stretched for half of the time that a first boot takes under emulation.
QUICK = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
# Where a running system writes all the time, and where users live.
BUSY = {"logs": "/var/log", "homes": "/var/home", "containers": "/var/lib/containers"}
FILES = [f"/var/lib/{name}/file" for name in ("secret", "sealed", "mirror", "data")]


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as packed:
        for name, mode in (("tool-1.0/bin/run", 0o755), ("tool-1.0/README", 0o644)):
            info = tarfile.TarInfo(name)
            info.mode, info.size = mode, 9
            packed.addfile(info, io.BytesIO(b"#!/bin/sh"))
    return out.getvalue()


def with_volumes(text: str) -> str:
    """The config with what ``volumes.yaml`` says of disks."""
    config, more = yaml.safe_load(text), yaml.safe_load(VOLUMES.read_text(encoding="utf-8"))
    for each in config["storage"]["luks"]:
        each["options"] = QUICK
    for name, place in BUSY.items():
        subvolume = {"name": name, "path": place, "with_mount_unit": True}
        more["storage"]["filesystems"][-1]["subvolumes"].append(subvolume)
    for name, elements in more["storage"].items():
        config["storage"].setdefault(name, []).extend(elements)
    return str(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def machine(store: Store) -> Iterator[Machine]:
    out = REPOSITORY / "out" / "disks"
    manifest = build_text(DEFINITION, out, store)
    config = out / "machine.yaml"
    packed = archive()
    data, digest = base64.b64encode(packed).decode(), hashlib.sha256(packed).hexdigest()
    text = CONFIG.read_text(encoding="utf-8").replace("storage:\n", ARCHIVE.format(data=data, digest=digest))
    config.write_text(with_volumes(text) + ARGUMENTS, encoding="utf-8")
    disks = [ExtraDisk(1 << 30, serial) for serial in ("one", "two", "three", "four")]
    with booted(manifest, out / "machine", store, config=config, extra_disks=disks, tpm=True) as machine:
        yield machine


def require_all_of_it(machine: Machine) -> None:
    assert "nosmt" in machine.read("/proc/cmdline").split()
    for path in FILES:
        assert machine.read(path) == "kept\n"
    kinds = [machine.succeed(f"findmnt -n -o FSTYPE {Path(path).parent}") for path in FILES]
    assert kinds == ["ext4", "ext4", "ext4", "xfs"]
    assert machine.succeed("lsblk -n -o TYPE /dev/mapper/secret") == "crypt"
    assert machine.read("/proc/mdstat").count("[2/2] [UU]") == 2
    assert len(machine.read("/proc/swaps").splitlines()) == 3
    assert machine.succeed("stat -c %U /var/lib/data/file") == "core"
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""


def require_volumes(machine: Machine) -> None:
    places = {
        "/var/lib/kept": "ext4",
        "/var/lib/database": "ext4",
        "/var/lib/photos": "btrfs[/photos]",
        "/var/lib/notes": "btrfs[/text/notes]",
    }
    said = [machine.succeed(f"findmnt -n -o FSTYPE,SOURCE {place}").split() for place in places]
    assert [kind + source[source.find("[") :] * ("[" in source) for kind, source in said] == [*places.values()]
    assert (
        machine.succeed("lsblk -n -o TYPE /dev/store/database /dev/store/swap /dev/store/pool").split() == ["lvm"] * 3
    )
    # Extents have 4 MiB, and the group's own records one on each device.
    sizes = machine.succeed("blockdev --getsize64 /dev/store/database /dev/store/swap /dev/store/pool").split()
    assert [int(size) >> 20 for size in sizes] == [100, 40, 364]
    assert "zstd" in machine.succeed("btrfs property get /var/lib/notes compression")
    assert machine.succeed("btrfs subvolume get-default /var/lib/photos").endswith("path text/notes")
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""


def test_everything_is_made_mounted_and_filled(machine: Machine) -> None:
    require_all_of_it(machine)


def test_volumes_and_subvolumes_are_made_and_mounted(machine: Machine) -> None:
    require_volumes(machine)


def test_logs_homes_and_containers_have_filesystems_of_their_own(machine: Machine) -> None:
    require_busy_places(machine)


def require_busy_places(machine: Machine) -> None:
    for name, place in BUSY.items():
        assert machine.succeed(f"findmnt -n -o SOURCE --mountpoint {place}").endswith(f"[/{name}]")
    assert (
        machine.succeed("find /run/state/var/log /run/state/var/home /run/state/var/lib/containers -mindepth 1") == ""
    )
    assert machine.succeed("stat -L -c %U /home/core /home/core/.bashrc").split() == ["core", "core"]
    assert machine.succeed("journalctl --header").count("/var/log/journal/") > 0


def test_an_archive_is_unpacked(machine: Machine) -> None:
    said = machine.succeed("stat -c %a:%U:%n /opt/tool/bin/run /opt/tool/README").split()
    assert said == ["755:core:/opt/tool/bin/run", "644:core:/opt/tool/README"]


def test_the_kernel_was_started_again_with_the_arguments_that_were_missing(machine: Machine) -> None:
    image, _, added = machine.read("/proc/cmdline").strip().partition(" build_os.firstboot=2 ")
    assert "roothash=" in image
    assert added == "nosmt buildos.test=1"


def test_partitions_are_where_and_what_the_config_says(machine: Machine) -> None:
    said = machine.succeed("lsblk -n -r -b -o PARTLABEL,SIZE /dev/disk/by-id/virtio-one").split()
    sizes = dict(zip(said[1::2], said[2::2], strict=False))
    assert sizes["swap"] == str(64 << 20)
    assert sizes["secret"] == str(256 << 20)


def test_the_key_is_for_root_alone(machine: Machine) -> None:
    assert machine.succeed("stat -c %a:%U /etc/luks /etc/luks/secret /etc/crypttab").split() == [
        "700:root",
        "600:root",
        "600:root",
    ]
    machine.fail("runuser", "-u", "core", "--", "cat", "/etc/luks/secret")


def test_what_the_tpm_opens_is_bound_to_the_firmware_and_its_other_key_is_not_here(machine: Machine) -> None:
    assert machine.fail("test", "-e", "/etc/luks/sealed").status == 1
    said = machine.succeed("cryptsetup luksDump /dev/disk/by-partlabel/sealed")
    assert said.count(": luks2") == 2
    assert "systemd-tpm2" in said
    assert re.search(r"tpm2-hash-pcrs:\s+7\n", said)
    # Which first boot made it, for one that is cut short; nothing is written to the header afterwards.
    assert re.search(r"Label:         \tsealed\nSubsystem:     \tbuild-os:attempt-[0-9a-f-]+\n", said)


def test_the_next_boot_opens_and_mounts_the_same(machine: Machine) -> None:
    for name in ("secret", "sealed", "kept", "database", "photos", "notes"):
        machine.write(f"/var/lib/{name}/mine", "kept too\n")
    machine.reboot()
    machine.wait_unit("multi-user.target")
    for name in ("secret", "sealed", "kept", "database", "photos", "notes"):
        assert machine.read(f"/var/lib/{name}/mine") == "kept too\n"
    require_all_of_it(machine)
    require_volumes(machine)
    require_busy_places(machine)
