"""Kernel arguments of a machine: what is decided, the addon that carries them, and a first boot that starts again."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.apply.disks import devices
from firstboot.apply.kernel.addon import NoAddon, make_addon, read_addon
from firstboot.apply.kernel.arguments import format_addon, read_command_line
from firstboot.config.kernel_words import is_one_argument
from firstboot.engine.provision import run
from firstboot.log import Log
from firstboot.places import Places
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

IMAGE = "roothash=ab root=/dev/mapper/root quiet"
ADDON = "run/firstboot/esp/loader/addons/build-os-firstboot.addon.efi"
WORDS = st.from_regex(r"[a-z][a-z0-9_.=,/-]{0,20}", fullmatch=True).filter(is_one_argument)


def stub(sections: int = 2, headers: int = 1024) -> bytes:
    """The shape of systemd's ``addonx64.efi.stub``: an EFI program that does nothing."""
    data = bytearray(headers + sections * 512)
    data[:2] = b"MZ"
    struct.pack_into("<I", data, 0x3C, 0x40)
    data[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", data, 0x44, 0x8664, sections, 0, 0, 0, 240, 0x22E)
    optional = 0x58
    struct.pack_into("<H", data, optional, 0x20B)
    struct.pack_into("<II", data, optional + 32, 4096, 512)
    struct.pack_into("<II", data, optional + 56, 4096 * (sections + 1), headers)
    for index in range(sections):
        place = (11, 4096 * (index + 1), 512, headers + 512 * index)
        struct.pack_into("<8sIIIIIIHHI", data, optional + 240 + 40 * index, b".text", *place, 0, 0, 0, 0, 0x60000020)
    return bytes(data)


class Restarted(Exception):
    """The machine was told to start again."""


class Guest:
    """A machine with UEFI in a directory, whose EFI system partition stays where it is mounted."""

    def __init__(self, root: Path, programs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.programs = programs
        self.restarts = 0
        for directory in ("sys/firmware/qemu_fw_cfg", "sys/firmware/efi/efivars", "proc", "dev", "run/state"):
            (root / directory).mkdir(parents=True)
        stubs = root / "usr/lib/systemd/boot/efi"
        stubs.mkdir(parents=True)
        (stubs / "addonx64.efi.stub").write_bytes(stub())
        (root / "usr/lib/os-release").write_text("IMAGE_ID=demo\nIMAGE_VERSION=1\n")
        (root / "dev/console").touch()
        self.variable("LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", "ABCD\0".encode("utf-16-le"))
        self.started_with(IMAGE)
        monkeypatch.setattr(devices, "wait_for", lambda device, seconds=0: device)

    def variable(self, name: str, value: bytes) -> None:
        (self.root / "sys/firmware/efi/efivars" / name).write_bytes(b"\6\0\0\0" + value)

    def started_with(self, words: str) -> None:
        (self.root / "proc/cmdline").write_text(words + "\n")

    def boot(self, exist: list[str], absent: list[str] | None = None, path: str = "/etc/app") -> int:
        entry = self.root / "sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config"
        entry.mkdir(parents=True, exist_ok=True)
        arguments = {"shouldExist": exist, "shouldNotExist": absent or []}
        config = {
            "ignition": {"version": "3.4.0"},
            "kernelArguments": arguments,
            "storage": {"files": [{"path": path}]},
        }
        data = json.dumps(config).encode()
        (entry / "raw").write_bytes(data)
        (entry / "size").write_text(f"{len(data)}\n")
        (self.root / "dev/console").write_text("")
        places = Places(self.root, self.programs, restart=self._restart)
        return run(places, Log(io.StringIO(), priorities=False))

    def _restart(self) -> None:
        self.restarts += 1

    @property
    def provisioned(self) -> bool:
        return (self.root / "run/state/firstboot/complete").exists()

    @property
    def said(self) -> str:
        return (self.root / "dev/console").read_text()

    def addon(self) -> str | None:
        path = self.root / ADDON
        return read_addon(path.read_bytes()) if path.exists() else None


@pytest.fixture
def guest(accounts: Path, programs: Any, monkeypatch: pytest.MonkeyPatch) -> Guest:
    return Guest(accounts, programs, monkeypatch)


def test_arguments_that_are_missing_are_set_before_anything_else_and_the_machine_starts_again(guest: Guest) -> None:
    assert guest.boot(["mitigations=off", "quiet", "nosmt"]) == 0
    assert (guest.restarts, guest.provisioned, (guest.root / "etc/app").exists()) == (1, False, False)
    assert guest.addon() == "build_os.firstboot=2 mitigations=off nosmt"


def test_after_that_start_the_machine_is_provisioned(guest: Guest) -> None:
    guest.boot(["nosmt"])
    guest.started_with(f"{IMAGE} {guest.addon()}")
    assert guest.boot(["nosmt"]) == 0
    assert (guest.restarts, guest.provisioned) == (1, True)


def test_what_the_image_says_anyway_takes_no_second_start(guest: Guest) -> None:
    assert guest.boot(["quiet"], absent=["splash"]) == 0
    assert (guest.restarts, guest.provisioned, guest.addon()) == (0, True, None)


def test_what_is_inside_the_image_cannot_be_taken_away(guest: Guest) -> None:
    assert guest.boot([], absent=["quiet"]) == 1
    assert "'quiet' is inside the verified kernel image and cannot be taken away" in guest.said
    assert (guest.restarts, guest.provisioned) == (0, False)


def test_under_secure_boot_it_is_refused_in_one_line_and_nothing_is_written(guest: Guest) -> None:
    guest.variable("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", b"\1")
    assert guest.boot(["nosmt"]) == 1
    assert "Secure Boot is on, where kernel arguments that are not signed like the image have no effect" in guest.said
    assert "set kernel.command_line in the image's definition" in guest.said
    assert guest.addon() is None


def test_a_signed_image_whose_command_line_is_full_says_so_and_nothing_is_written(guest: Guest) -> None:
    guest.started_with(f"quiet build_os.full={'-' * 100}")
    assert guest.boot(["nosmt"]) == 1
    assert "this image is signed, and its command line takes no more words" in guest.said
    assert guest.addon() is None


def test_a_machine_without_uefi_says_so(guest: Guest) -> None:
    (guest.root / "sys/firmware/efi/efivars").rename(guest.root / "gone")
    (guest.root / "sys/firmware/efi").rmdir()
    assert guest.boot(["nosmt"]) == 1
    assert "this machine was not started by UEFI firmware from a disk" in guest.said


def test_a_kernel_that_does_not_get_them_ends_in_an_error_and_not_in_a_circle(guest: Guest) -> None:
    guest.boot(["nosmt"])
    assert guest.boot(["nosmt"]) == 1  # the same command line as before
    assert guest.restarts == 1
    assert "they are set already, and the kernel was started without them" in guest.said


def test_arguments_of_an_earlier_life_go(guest: Guest) -> None:
    guest.boot(["nosmt", "debug"])
    guest.started_with(f"{IMAGE} {guest.addon()} mine=1")
    assert guest.boot(["debug"]) == 0
    assert guest.addon() == "build_os.firstboot=1 debug"
    guest.started_with(f"{IMAGE} {guest.addon()} mine=1")
    assert guest.boot([]) == 0
    assert (guest.addon(), guest.restarts) == (None, 3)


def test_a_config_that_cannot_be_carried_out_restarts_nothing(guest: Guest) -> None:
    assert guest.boot(["nosmt"], path="/etc/passwd/no") == 1
    assert (guest.restarts, guest.addon()) == (0, None)


@pytest.mark.parametrize(
    "word", ["init=/bin/sh", "rd.systemd.verity=no", "root=/dev/sda", "--", "a b", 'a="b"', "é", ""]
)
def test_what_would_undo_the_verified_boot_is_no_argument(guest: Guest, word: str) -> None:
    assert guest.boot([word]) == 1
    assert "cannot be set" in guest.said or "a kernel argument has no spaces" in guest.said
    assert guest.addon() is None


def test_half_an_addon_is_never_where_the_firmware_reads_it(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_self: Path, _target: Path) -> Path:
        raise OSError(5, "the power is gone")

    monkeypatch.setattr(Path, "replace", cut)
    assert guest.boot(["nosmt"]) == 1
    assert [path.name for path in (guest.root / ADDON).parent.iterdir()] == ["build-os-firstboot.addon.efi.new"]


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=3))
@examples(100)
def test_a_command_line_is_taken_apart_as_it_was_put_together(
    image: list[str], added: list[str], others: list[str]
) -> None:
    arguments = read_command_line(" ".join([*image, format_addon(added), *others]))
    assert arguments.image == (*image, *others)
    assert arguments.added == tuple(added)


@given(st.lists(WORDS, min_size=1, max_size=200))
@examples(50)
def test_an_addon_says_what_it_was_given(words: list[str]) -> None:
    text = format_addon(words)
    made = make_addon(stub(), text)
    assert read_addon(made) == text
    assert len(made) % 512 == 0


def test_a_stub_without_room_is_no_stub() -> None:
    with pytest.raises(NoAddon, match="no room"):
        make_addon(stub(2, headers=416), "x")
    with pytest.raises(NoAddon, match="no EFI program"):
        read_addon(b"x" * 1000)
    with pytest.raises(NoAddon, match="no command line"):
        read_addon(stub())


@given(mutated(stub()[:700]))
@examples(200)
def test_whatever_lies_there_is_read_or_refused(data: bytes) -> None:
    for use in (read_addon, lambda data: make_addon(data, "x")):
        with contextlib.suppress(NoAddon):
            use(data)
