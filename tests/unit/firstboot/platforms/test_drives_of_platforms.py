"""Config drives of every kind and label, and platforms that also have a metadata service."""

from __future__ import annotations

import base64
import fcntl
import io
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.programs import ProgramError, Programs
from firstboot.fetch.errors import FetchError
from firstboot.log import Log
from firstboot.places import Places
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.platforms.shared import config_drive
from firstboot.sources.user_config import fetch_config, fetch_from_platform

pytestmark = pytest.mark.unit

CONFIG = b'{"ignition": {"version": "3.4.0"}}'
LINK_LOCAL = "http://169.254.169.254"


def iso(label: str) -> bytes:
    """As much of ISO 9660 as tells its label (ECMA-119, 8.4)."""
    return bytes(0x8000) + b"\1CD001\1\0" + b"LINUX".ljust(32) + label.encode().ljust(32) + bytes(2048)


def fat(label: str) -> bytes:
    head = bytearray(4096)
    head[0x2B:0x36], head[0x36:0x3E] = label.encode().ljust(11), b"FAT16   "
    return bytes(head)


def fat32(label: str) -> bytes:
    head = bytearray(4096)
    head[0x47:0x52], head[0x52:0x5A] = label.encode().ljust(11), b"FAT32   "
    return bytes(head)


def ext4(label: str) -> bytes:
    head = bytearray(4096)
    struct.pack_into("<H", head, 0x438, 0xEF53)
    head[0x478:0x488] = label.encode().ljust(16, b"\0")
    return bytes(head)


class Mounting(Programs):
    """``mount`` of a device shows the directory that a test has put on it."""

    content: dict[str, Path]
    kinds: list[str]

    @classmethod
    def of(cls, content: dict[str, Path]) -> Mounting:
        programs = cls()
        programs.content = content
        programs.kinds = []
        return programs

    def run(self, argv: Sequence[str]) -> str:
        if argv[0] == "mount":
            *_, options, device, directory = argv
            assert "ro" in options.split(",")
            assert {"nodev", "nosuid", "noexec"} < set(options.split(","))
            self.kinds.append(argv[2])
            if Path(device).name not in self.content:
                raise ProgramError("mount failed with status 32")
            shutil.copytree(self.content[Path(device).name], directory, symlinks=True, dirs_exist_ok=True)
        elif argv[0] == "umount":
            shutil.rmtree(argv[1])
        return ""

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        assert argv[0] == "modprobe"
        return 0, ""


class Guest:
    """A machine in a directory, to which drives are attached."""

    def __init__(self, root: Path, outside: Any) -> None:
        self.root = root
        self.outside = outside
        self.content: dict[str, Path] = {}
        self.programs = Mounting.of(self.content)
        for directory in ("dev", "sys/class/block", "sys/class/net"):
            (root / directory).mkdir(parents=True)
        self.attach("vda", bytes(70_000), {})

    @property
    def places(self) -> Places:
        return Places(self.root, self.programs, self.outside)

    def attach(self, name: str, head: bytes, files: dict[str, bytes]) -> Path:
        (self.root / "sys/class/block" / name).mkdir()
        (self.root / "sys/class/block" / name / "size").write_text("1024\n")
        (self.root / "dev" / name).write_bytes(head)
        self.content[name] = directory = self.root.parent / f"content-{name}"
        for path, data in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        directory.mkdir(exist_ok=True)
        return directory

    def fetch(self, platform: str) -> Fetched | None:
        return fetch_from_platform(platform, self.places, Log(io.StringIO(), priorities=False))


@pytest.fixture
def guest(tree: Path, outside: Any) -> Guest:
    outside.clock.speed = 500
    return Guest(tree, outside)


@pytest.mark.parametrize("make", [iso, fat, fat32, ext4])
def test_labels_are_read_from_every_kind_of_file_system(tmp_path: Path, make: Callable[[str], bytes]) -> None:
    (tmp_path / "device").write_bytes(make("config-2"))
    assert config_drive.read_label(tmp_path / "device") == "config-2"


@pytest.mark.parametrize("content", [b"", b"short", bytes(40_000), b"\xff" * 40_000])
def test_whatever_else_is_on_a_device_has_no_label(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "device").write_bytes(content)
    assert config_drive.read_label(tmp_path / "device") is None


OPENSTACK = "openstack/latest/user_data"


@pytest.mark.parametrize(
    ("platform", "head", "path"),
    [
        ("openstack", iso("config-2"), OPENSTACK),
        ("openstack", fat("CONFIG-2"), OPENSTACK),
        ("brightbox", iso("config-2"), OPENSTACK),
        ("cloudstack", iso("config-2"), "cloudstack/userdata/user_data.txt"),
        ("nutanix", iso("config-2"), OPENSTACK),
        ("powervs", iso("config-2"), OPENSTACK),
        ("kubevirt", iso("cidata"), "user-data"),
        ("kubevirt", iso("config-2"), OPENSTACK),
        ("ibmcloud", fat32("cidata"), "user-data"),
        ("proxmoxve", iso("cidata"), "user-data"),
        ("proxmoxve", iso("cidata"), "vendor-data"),
    ],
)
def test_a_config_comes_from_a_drive(guest: Guest, platform: str, head: bytes, path: str) -> None:
    guest.attach("sr0", head, {path: CONFIG})
    found = guest.fetch(platform)
    assert found is not None
    assert found == Fetched(f"/{path} of the config drive sr0", CONFIG)
    assert not (guest.root / "run/firstboot/drive").exists()


@pytest.mark.parametrize(
    "platform", ["openstack", "cloudstack", "nutanix", "powervs", "kubevirt", "ibmcloud", "proxmoxve"]
)
def test_a_drive_without_a_config_is_no_config(guest: Guest, platform: str) -> None:
    label = "cidata" if platform in ("ibmcloud", "proxmoxve") else "config-2"
    guest.attach("sr0", iso(label), {"meta-data": b"x"})
    assert guest.fetch(platform) is None


@pytest.mark.parametrize("platform", ["ibmcloud", "proxmoxve"])
def test_some_platforms_have_no_drive_where_there_is_no_config(guest: Guest, platform: str) -> None:
    started = guest.outside.clock.get_time()
    assert guest.fetch(platform) is None
    assert guest.outside.clock.get_time() - started >= 30


@pytest.mark.parametrize("platform", ["nutanix", "powervs", "kubevirt"])
def test_a_drive_that_never_comes_ends_with_a_reason(guest: Guest, platform: str) -> None:
    with pytest.raises(ConfigUnavailable, match="no drive with the label"):
        guest.fetch(platform)


def test_proxmoxs_files_for_cloud_init_are_passed_over(guest: Guest) -> None:
    files = {"user-data": b"#cloud-config\nhostname: a\n", "vendor-data": CONFIG}
    guest.attach("sr0", iso("cidata"), files)
    found = guest.fetch("proxmoxve")
    assert found is not None
    assert found.data == CONFIG


def test_a_link_on_a_drive_leads_nowhere(guest: Guest) -> None:
    secret = guest.root.parent / "secret"
    secret.write_bytes(b"root:hash")
    directory = guest.attach("sr0", iso("cidata"), {})
    (directory / "user-data").symlink_to(secret)
    with pytest.raises(ConfigUnavailable, match="symbolic link"):
        guest.fetch("kubevirt")


def test_a_drive_that_cannot_be_mounted_is_an_error(guest: Guest) -> None:
    guest.attach("sr0", iso("config-2"), {})
    del guest.content["sr0"]
    with pytest.raises(ConfigUnavailable, match="the config drive sr0 cannot be read: mount failed"):
        guest.fetch("nutanix")


def test_a_config_on_a_drive_has_a_limit(guest: Guest) -> None:
    guest.attach("sr0", iso("cidata"), {"user-data": bytes(11 << 20)})
    with pytest.raises(ConfigUnavailable, match="larger than"):
        guest.fetch("kubevirt")


@pytest.mark.parametrize("platform", ["openstack", "brightbox"])
def test_openstack_without_a_drive_asks_the_service(guest: Guest, platform: str) -> None:
    asked = guest.outside.serve(LINK_LOCAL, lambda _: CONFIG)
    found = guest.fetch(platform)
    assert found is not None
    assert found.data == CONFIG
    assert asked[0].path == "/openstack/latest/user_data"


def test_openstacks_service_is_asked_by_ipv6_through_each_interface(guest: Guest) -> None:
    for name, flags in (("lo", "0x9"), ("eth0", "0x1003"), ("eth1", "0x1002")):
        (guest.root / "sys/class/net" / name).mkdir()
        (guest.root / "sys/class/net" / name / "flags").write_text(f"{flags}\n")
    guest.outside.clock.speed = 50
    guest.outside.serve("http://ipv6", lambda _: CONFIG)
    guest.outside.ports["fe80::a9fe:a9fe%eth0", 80] = guest.outside.ports["ipv6", 80]
    found = guest.fetch("openstack")
    assert found is not None
    assert found.name == "http://[fe80::a9fe:a9fe%25eth0]/openstack/latest/user_data"


def test_openstack_without_user_data(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, lambda _: 404)
    assert guest.fetch("openstack") is None


def test_openstack_with_neither_ends_with_a_reason(guest: Guest) -> None:
    with pytest.raises(ConfigUnavailable, match="neither a drive with the label config-2 nor the metadata service"):
        guest.fetch("openstack")


def test_cloudstacks_service_is_the_dhcp_server(guest: Guest) -> None:
    lease = guest.root / "run/systemd/netif/leases/2"
    lease.parent.mkdir(parents=True)
    lease.write_text("ADDRESS=10.1.1.5\nSERVER_ADDRESS=10.1.1.1\n")
    asked = guest.outside.serve("http://10.1.1.1", lambda _: CONFIG)
    found = guest.fetch("cloudstack")
    assert found is not None
    assert found.data == CONFIG
    assert asked[0].path == "/latest/user-data"


@pytest.fixture
def disc_status(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What drives say to ``CDROM_DRIVE_STATUS``: 4 is a disc that can be read (linux/cdrom.h)."""
    status = {"value": 4}

    def ioctl(_fd: int, request: int) -> int:
        assert request == 0x5326
        return status["value"]

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return status


@pytest.mark.usefixtures("disc_status")
@pytest.mark.parametrize("platform", ["azure", "azurestack"])
def test_a_config_comes_from_microsofts_dvd(guest: Guest, platform: str) -> None:
    guest.outside.serve(LINK_LOCAL, lambda _: b"")  # no user data
    guest.attach("sr0", b"", {"README": b"another disc"})
    guest.attach("sr1", b"", {"ovf-env.xml": b"<Environment/>", "CustomData.bin": CONFIG})
    found = guest.fetch(platform)
    assert found == Fetched("/CustomData.bin of the DVD sr1", CONFIG)
    assert guest.programs.kinds == ["udf,iso9660"] * 2


@pytest.mark.usefixtures("disc_status")
def test_a_dvd_without_custom_data_is_no_config(guest: Guest) -> None:
    guest.attach("sr0", b"", {"ovf-env.xml": b"<Environment/>"})
    assert guest.fetch("azurestack") is None


def test_an_empty_dvd_drive_ends_with_a_reason(guest: Guest, disc_status: dict[str, int]) -> None:
    disc_status["value"] = 1
    guest.attach("sr0", b"", {"ovf-env.xml": b"<Environment/>"})
    with pytest.raises(ConfigUnavailable, match=r"no DVD with ovf-env.xml came within 120 s"):
        guest.fetch("azurestack")


@pytest.mark.usefixtures("disc_status")
def test_azures_user_data_goes_before_the_dvd(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, lambda _: base64.b64encode(CONFIG))
    guest.attach("sr0", b"", {"ovf-env.xml": b"<Environment/>", "CustomData.bin": b"other"})
    found = guest.fetch("azure")
    assert found is not None
    assert found.data == CONFIG


def test_azures_user_data_that_is_refused_is_an_error(guest: Guest) -> None:
    guest.outside.serve(LINK_LOCAL, lambda _: 403)
    with pytest.raises(FetchError, match="403"):
        guest.fetch("azure")


# The kernel's command line


def named(guest: Guest, arguments: str) -> Fetched | None:
    (guest.root / "proc").mkdir()
    (guest.root / "proc/cmdline").write_text(f"quiet {arguments}\n")
    return fetch_config("metal", guest.places, Log(io.StringIO(), priorities=False))


def test_the_command_line_names_a_config_by_url(guest: Guest) -> None:
    guest.outside.serve("http://server.example.org", lambda request: CONFIG if request.path == "/b" else 404)
    found = named(
        guest, "ignition.config.url=http://server.example.org/a ignition.config.url=http://server.example.org/b"
    )
    assert found == Fetched("the config of ignition.config.url=", CONFIG)


def test_a_config_that_is_named_must_be_there(guest: Guest) -> None:
    guest.outside.serve("http://server.example.org", lambda _: 404)
    with pytest.raises(FetchError, match="404"):
        named(guest, "ignition.config.url=http://server.example.org/a")


@pytest.mark.parametrize("label", ["IGNCONFIG", "linked"])
def test_the_command_line_names_a_config_on_a_device(guest: Guest, label: str) -> None:
    guest.attach("vdb", ext4("IGNCONFIG"), {"dir/config.ign": CONFIG})
    (guest.root / "dev/disk/by-label").mkdir(parents=True)
    (guest.root / "dev/disk/by-label/linked").symlink_to("../../vdb")
    found = named(guest, f"ignition.config.device={label} ignition.config.path=/dir/config.ign")
    assert found == Fetched("/dir/config.ign of the config drive vdb", CONFIG)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("ignition.config.device=IGNCONFIG", "only one of"),
        ("ignition.config.path=/config.ign", "only one of"),
        (
            "ignition.config.device=OTHER ignition.config.path=/config.ign",
            "no device with the label OTHER came within 30 s",
        ),
        ("ignition.config.device=IGNCONFIG ignition.config.path=/other", "there is no /other on the device"),
    ],
)
def test_a_device_that_is_named_must_have_a_config(guest: Guest, arguments: str, says: str) -> None:
    guest.attach("vdb", ext4("IGNCONFIG"), {"config.ign": CONFIG})
    with pytest.raises(ConfigUnavailable, match=says):
        named(guest, arguments)
