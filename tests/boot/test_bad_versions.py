"""One machine, and all kinds of versions that are not well: each ends on the version before, and it is said how soon.

They are made of three builds. What only shows when it runs (it is not well in time, it hangs) is built in; what keeps a
version from running at all is done to its parts, whose hashes then fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from builder.outputs.uki import make_uki, read_parts
from builder.stages.plan import load_snapshot
from builder.tree.cpio import write_cpio
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree
from tests.boot.test_updates import expect_the_worst, status, wait_for_return
from tests.support.machines import booted, build_text
from tests.support.payloads import make_carrier, write_payload
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = Path(__file__).parents[2] / "out" / "bad-versions"
# Version 4 is not given long; the good ones are, on a busy host.
MINUTES = {"1": 20, "4": 5, "5": 20, "8": 20}
TRIES = {"8": 2}
DEFINITION = """\
name: tried
version: "{version}"
features: [base, updates]
overlays: [trial]
units: [trial]
outputs: [raw, update]
disk: {{size: 3G, esp: 260M, slot: 600M}}
kernel: {{command_line: [systemd.default_device_timeout_sec=300, systemd.default_timeout_start_sec=600]}}
updates:
  tries: {tries}
  boot_minutes: {minutes}
  health: [trial.service]
"""
UNIT = """\
[Unit]
Description=What Becomes of This Version

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/sh /usr/lib/trial
TimeoutStartSec=infinity
"""
# Version 5 has three starts: systemd crashes where nobody watches, hangs in the root, and hangs in the initrd.
SCRIPT = """\
. /usr/lib/os-release
case "$IMAGE_VERSION" in
4) exec sleep infinity ;;
5)
    echo start >>/var/starts
    if test "$(wc -l </var/starts)" = 1; then
        manager="org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
        busctl set-property $manager RuntimeWatchdogUSec t 0
        until grep -qx inactive /sys/class/watchdog/watchdog0/state; do sleep 1; done
        sync; echo "systemd crashes" >/dev/console; kill -SEGV 1; exec sleep infinity
    fi
    until grep -qx active /sys/class/watchdog/watchdog0/state; do sleep 1; done
    touch /var/hang-in-initrd
    sync; echo "systemd hangs in the root" >/dev/console; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze
    exec sleep infinity ;;
esac
"""
# There is no shell in an initrd: a file is copied to where it stops systemd.
HANG = """\
[Unit]
Description=A Hang on the Way to the Root
DefaultDependencies=no
Requires=run-state.mount
After=run-state.mount
Before=initrd-switch-root.target initrd-cleanup.service
ConditionPathExists=/run/state/var/hang-in-initrd

[Service]
Type=oneshot
ExecStartPre=/usr/bin/mkdir /run/state/var/hangs-in-initrd
ExecStart=/usr/bin/cat /usr/lib/one
StandardOutput=file:/sys/fs/cgroup/init.scope/cgroup.freeze
"""
Parts = dict[str, bytes]


def build_version(version: str, store: Store) -> Path:
    out = OUT / version
    for path, text in {"units/trial/trial.service": UNIT, "overlays/trial/usr/lib/trial": SCRIPT}.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    text = DEFINITION.format(version=version, tries=TRIES.get(version, 1), minutes=MINUTES[version])
    return build_text(text, out, store)


def rename_version(parts: Parts, version: str) -> Parts:
    """The kernel image says what it is of, and is sorted by that."""
    before = re.findall(rb"IMAGE_VERSION=(.)\n", parts["uki"])[0]
    uki = parts["uki"].replace(b"IMAGE_VERSION=" + before + b"\n", f"IMAGE_VERSION={version}\n".encode())
    return {**parts, "uki": uki}


def replace_root_hash(parts: Parts, roothash: str) -> Parts:
    uki = re.sub(rb"roothash=[0-9a-f]{64}", f"roothash={roothash}".encode(), parts["uki"])
    return {**parts, "uki": uki}


class Crafting:
    """Makes what is wrong with a version, of the parts of one that is well."""

    def __init__(self, manifest: Path, room: Path, store: Store) -> None:
        self._image = image = read_image(manifest)
        self._initrd = image.require_artifact("initrd").path.read_bytes()
        self._tools, self._room, self._store = Tools(image.tools, QuietConsole()), room, store

    def damage_initrd(self, parts: Parts) -> Parts:
        """The kernel finds nothing to start, and panics."""
        begin = parts["uki"].index(self._initrd)
        uki = bytearray(parts["uki"])
        uki[begin : begin + len(self._initrd)] = bytes(len(self._initrd))
        return {**parts, "uki": bytes(uki)}

    def hang_in_initrd(self, parts: Parts) -> Parts:
        """To the initrd is added what stops systemd there: the kernel unpacks one archive behind the other."""
        tree, units = Tree(), "/usr/lib/systemd/system"
        tree.put("/usr/lib/one", make_file("1\n", origin="test"))
        tree.put(f"{units}/hang.service", make_file(HANG, origin="test"))
        tree.put(f"{units}/initrd.target.wants/hang.service", make_symlink("../hang.service", origin="test"))
        archives, uki = self._room / "archives", self._room / "hanging.efi"
        with archives.open("wb") as file:
            file.write(self._initrd.ljust(-(-len(self._initrd) // 4) * 4, b"\0"))
            write_cpio(tree, file)
        image, own = self._image, read_parts(load_snapshot(self._store, self._image.tree), self._image.arch)
        make_uki(own, self._tools, self._room, uki, arch=image.arch, initrd=archives, cmdline=image.command_line)
        return {**parts, "uki": uki.read_bytes()}

    def spoil_verity(self, parts: Parts) -> Parts:
        """Another root hash than that of the tree."""
        return replace_root_hash(parts, "5eed" * 16)

    def empty_root(self, parts: Parts) -> Parts:
        """All fits, and there is nothing in it."""
        directory, root, verity = self._room / "empty", self._room / "empty.erofs", self._room / "empty.verity"
        directory.mkdir(exist_ok=True)
        root.unlink(missing_ok=True)
        self._tools.run("mkfs.erofs", "--quiet", root, directory)
        said = self._tools.run("veritysetup", "format", root, verity)
        roothash = re.findall(r"Root hash:\s+([0-9a-f]{64})", said)[0]
        return replace_root_hash({**parts, "root": root.read_bytes(), "verity": verity.read_bytes()}, roothash)

    def increase_root(self, parts: Parts) -> Parts:
        """More than the slot has room for."""
        return {**parts, "root": bytes(601 << 20)}


@pytest.fixture(scope="module")
def manifests(store: Store) -> dict[str, Path]:
    return {version: build_version(version, store) for version in MINUTES}


@pytest.fixture(scope="module")
def carrier(manifests: dict[str, Path], store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with all versions but the first, of which 2, 3, 6, 7 and 9 are made. It is kept while it is what would be
    made."""
    made_of = [Path(__file__), *manifests.values()]
    kept = OUT / "carrier.erofs"
    if kept.exists() and all(kept.stat().st_mtime > path.stat().st_mtime for path in made_of):
        return kept
    room = tmp_path_factory.mktemp("carrier")
    craft = Crafting(manifests["1"], room, store)
    made: dict[str, Callable[[Parts], Parts]] = {
        "2": craft.damage_initrd,
        "3": craft.spoil_verity,
        "6": craft.empty_root,
        "7": craft.increase_root,
        "9": craft.empty_root,
    }
    for version in "48":
        write_payload(manifests[version], room / "versions" / version)
    write_payload(manifests["5"], room / "versions" / "5", Crafting(manifests["5"], room, store).hang_in_initrd)
    for version, change in made.items():
        target = room / "versions" / version
        write_payload(
            manifests["1"], target, lambda parts, c=change, v=version: rename_version(c(parts), v), version=version
        )
    tools = Tools(read_image(manifests["1"]).tools, QuietConsole())
    return make_carrier(tools, room / "versions", room / "carrier.erofs").replace(kept)


@pytest.fixture(scope="module")
def machine(
    manifests: dict[str, Path], carrier: Path, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine") / "machine"
    options: dict[str, Any] = {"media": [carrier], "memory": 768, "seconds": 900, "watchdog": True}
    with booted(manifests["1"], folder, store, **options) as machine:
        yield machine


def mount(machine: Machine) -> None:
    wanted = "mkdir -p /run/versions && mount -t erofs -o ro /dev/vdb /run/versions"
    machine.succeed("/bin/sh", "-c", f"mountpoint -q /run/versions || {{ {wanted}; }}")


def take(machine: Machine, version: str) -> None:
    mount(machine)
    machine.succeed("os-update", "apply", "--from", f"/run/versions/{version}")
    assert status(machine)["pending"]["version"] == version


def test_what_finds_no_room_is_refused_before_anything_is_written(machine: Machine) -> None:
    mount(machine)
    # First: what is unpacked once is not unpacked again.
    machine.succeed("/bin/sh", "-c", "fallocate -l $(($(df --output=avail -B1 /var | tail -1) - 9000000)) /var/full")
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/8")
    assert re.search(r"/var/lib/update.* [0-9]+ .*[0-9]+", refused.stderr), refused.stderr
    print(refused.stderr)
    machine.succeed("rm", "/var/full")
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/7")
    assert f"root of version 7 has {601 << 20} bytes, and partition" in refused.stderr
    fill = "mkdir -p /run/esp && mount /dev/vda1 /run/esp && { cat /dev/zero > /run/esp/full 2>/dev/null; sync; }"
    machine.succeed("/bin/sh", "-c", f"{fill}; umount /run/esp")
    refused = machine.fail("os-update", "apply", "--from", "/run/versions/8")
    assert re.search(r"the EFI system partition.* [0-9]+ .*[0-9]+", refused.stderr), refused.stderr
    print(refused.stderr)
    machine.succeed("/bin/sh", "-c", "mount /dev/vda1 /run/esp && rm /run/esp/full && umount /run/esp")
    said = status(machine)
    assert (said["running"], said["pending"], said["failed"]) == ("1", None, {})


def test_a_damaged_system_partition_and_table_of_partitions_keep_no_machine_from_starting(machine: Machine) -> None:
    """Garbage for the loader, a kernel image without a byte, the mark of an unclean end, and no first table."""
    damage = [
        "mount /dev/vda1 /run/esp",
        "head -c 4096 /dev/urandom > /run/esp/loader/loader.conf",
        ": > /run/esp/EFI/Linux/tried_9.efi",
        "umount /run/esp",
        r"printf '\1' | dd of=/dev/vda1 bs=1 seek=65 conv=notrunc,fsync",
        "dd if=/dev/zero of=/dev/vda bs=512 seek=1 count=33 conv=notrunc,fsync",
    ]
    machine.succeed("/bin/sh", "-ec", "\n".join(damage))
    expect_the_worst(machine)
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    assert status(machine)["running"] == "1"
    assert machine.succeed("/bin/sh", "-c", "dd if=/dev/vda bs=512 skip=1 count=1 | head -c 8") == "EFI PART"
    machine.succeed("/bin/sh", "-ec", "mkdir -p /run/esp; mount /dev/vda1 /run/esp; rm /run/esp/EFI/Linux/tried_9.efi")
    machine.succeed("umount", "/run/esp")


@pytest.mark.parametrize("version", ["2", "3", "6"], ids=["early-panic", "wrong-verity", "empty-root"])
def test_a_version_that_never_runs_is_given_up(machine: Machine, version: str) -> None:
    take(machine, version)
    assert "after 1 start it had not come as far as its own log" in wait_for_return(machine, version)
    assert status(machine)["running"] == "1"


def test_a_version_that_is_not_well_in_time_is_given_up(machine: Machine) -> None:
    take(machine, "4")
    assert "was not reached in time; still starting: trial.service" in wait_for_return(machine, "4")


def test_a_version_whose_systemd_crashes_or_hangs_is_started_again(machine: Machine) -> None:
    """By systemd itself, as its command line says; and by the watchdog, in the root and on the way to it."""
    # How often another version is started, the one that runs says.
    settings, more = "/usr/lib/build-os/updates.json", "/run/updates.json"
    machine.write(more, json.dumps(json.loads(machine.read(settings)) | {"tries": 3}))
    machine.succeed("mount", "--bind", more, settings)
    take(machine, "5")
    assert "it had not become well: it panicked, hung or lost power" in wait_for_return(machine, "5", starts=3)
    assert machine.succeed("cat", "/var/starts").split() == ["start", "start"], "the third came to the root"
    machine.succeed("test", "-d", "/var/hangs-in-initrd")


def test_a_machine_goes_back_for_one_boot_and_tries_as_often_as_it_is_told(machine: Machine) -> None:
    take(machine, "8")
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reboot()
    machine.wait_unit("systemd-bless-boot.service")
    assert status(machine)["running"] == "8"
    assert "version 1 is started at the next boot, once" in machine.succeed("os-update", "rollback", "--once")
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    said = status(machine)
    assert (said["running"], said["on_trial"], "8" in said["failed"]) == ("1", False, False)
    machine.run_until_reboot("systemctl", "reboot")
    machine.wait_reboot()
    machine.wait_unit("multi-user.target")
    assert status(machine)["running"] == "8"
    take(machine, "9")
    assert "after 2 starts" in wait_for_return(machine, "9", starts=2)
    assert status(machine)["running"] == "8"
