"""Platforms that hand over a config through a device of their hypervisor."""

from __future__ import annotations

import base64
import ctypes
import fcntl
import gzip
import io
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from firstboot.apply.programs import ProgramError, Programs
from firstboot.apply.root import Root
from firstboot.log import Log
from firstboot.places import TO_DELETE, Places
from firstboot.platform_index import load_index
from firstboot.platforms import ConfigUnavailable, Fetched, hyperv, import_platform
from firstboot.platforms.vmware import OVF_NAMESPACE, make_message, parse_message, read_properties
from firstboot.sources.deletion import delete_kept_config, write_deletion_note
from firstboot.sources.detection import detect_platform
from firstboot.sources.user_config import fetch_from_platform

pytestmark = pytest.mark.unit

CONFIG = b'{"ignition": {"version": "3.4.0"}}'


class Guest:
    """A machine in a directory."""

    def __init__(self, root: Path, programs: Programs, outside: Any) -> None:
        self.root = root
        self.places = Places(root, programs, outside)
        self.log = io.StringIO()

    def write(self, path: str, data: bytes | str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)

    def fetch(self, platform: str) -> Fetched | None:
        return fetch_from_platform(platform, self.places, Log(self.log, priorities=False))

    def delete(self, platform: str) -> None:
        with Root(self.root) as root:
            write_deletion_note(root, platform)
            assert delete_kept_config(root, self.places, Log(self.log, priorities=False))
            assert delete_kept_config(root, self.places, Log(self.log, priorities=False))  # nothing is left to delete


@pytest.fixture
def guest(tree: Path, programs: Programs, outside: Any) -> Guest:
    outside.clock.speed = 500
    return Guest(tree, programs, outside)


def test_every_platform_has_a_file() -> None:
    assert all(callable(import_platform(name).fetch_config) for name in load_index().names)


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(ConfigUnavailable, match="'digitalocena' is not supported"):
        import_platform("digitalocena")


@pytest.mark.parametrize("device", ["vda", "vdb"])
def test_qemu_without_fw_cfg_has_a_block_device(guest: Guest, device: str) -> None:
    guest.write("sys/class/block/aaa/serial", "other")
    guest.write(f"sys/class/block/{device}/serial", "ignition")
    guest.write(f"dev/{device}", CONFIG.ljust(512, b"\0"))
    assert guest.fetch("qemu") == Fetched(f"block device {device}", CONFIG)


def test_qemu_with_neither_has_no_config(guest: Guest) -> None:
    assert guest.fetch("qemu") is None


def test_on_some_architectures_the_block_device_is_waited_for(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: type("Uname", (), {"machine": "s390x"}))
    started = guest.places.connector.clock.get_time()
    assert guest.fetch("qemu") is None
    assert guest.places.connector.clock.get_time() - started >= 300


def test_bluefields_fifo_ends_with_nul_bytes(guest: Guest) -> None:
    guest.write("sys/bus/platform/devices/MLNXBF04:00/bootfifo", CONFIG + bytes(100))
    assert guest.fetch("nvidiabluefield") == Fetched("the boot FIFO", CONFIG)


def test_bluefield_without_a_fifo_has_no_config(guest: Guest) -> None:
    assert guest.fetch("nvidiabluefield") is None


# z/VM


class Reader(Programs):
    """The programs of s390-tools, with spool files in the card reader."""

    files: dict[str, tuple[str, bytes]]
    is_ignored: bool
    received: list[str]

    @classmethod
    def holding(cls, files: dict[str, tuple[str, bytes]], *, is_ignored: bool = False) -> Reader:
        reader = cls()
        reader.files, reader.is_ignored, reader.received = files, is_ignored, []
        return reader

    def run(self, argv: Sequence[str]) -> str:
        status, output = self.run_for_status(argv)
        if status:
            raise ProgramError(f"{argv[0]} failed with status {status}")
        return output

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        match list(argv):
            case ["chccwdev", "-e", "000c"]:
                return (1 if self.is_ignored else 0), ""
            case ["cio_ignore", "-r", "000c"]:
                self.is_ignored = False
            case ["vmur", "li"]:
                head = "ORIGINID FILE CLASS RECORDS  CPY HOLD DATE  TIME     NAME      TYPE     DIST\n"
                rows = [f"USER {n} A PUN 9 001 NONE 11/24 10:00 CONF {kind} D\n" for n, (kind, _) in self.files.items()]
                return 0, head + "".join(rows)
            case ["vmur", "re", "-f", number, path]:
                Path(path).write_bytes(self.files[number][1])
                self.received.append(number)
        return 0, ""


@pytest.mark.parametrize("is_ignored", [False, True])
def test_zvms_config_is_the_first_spool_file_of_its_type(guest: Guest, outside: Any, is_ignored: bool) -> None:
    files = {"0001": ("txt", b"x"), "0002": ("ign", CONFIG + bytes(46)), "0003": ("ign", b"x")}
    reader = Reader.holding(files, is_ignored=is_ignored)
    guest.places = Places(guest.root, reader, outside)
    assert guest.fetch("zvm") == Fetched("spool file 0002", CONFIG)
    assert reader.received == ["0002"]
    assert list((guest.root / "run/firstboot").iterdir()) == []


def test_an_empty_card_reader_is_no_config(guest: Guest, outside: Any) -> None:
    guest.places = Places(guest.root, Reader.holding({}), outside)
    assert guest.fetch("zvm") is None


def test_a_card_reader_that_fails_is_an_error(guest: Guest, programs: Any) -> None:
    programs.failing = {"vmur"}
    with pytest.raises(ConfigUnavailable, match="card reader 000c cannot be read"):
        guest.fetch("zvm")


# Hyper-V


class Host(threading.Thread):
    """The kernel's side of /dev/vmbus/hv_kvp: fixed messages (linux/hyperv.h, struct hv_kvp_msg)."""

    BYTES = 4 + 7426

    def __init__(self, fd: socket.socket, pairs: list[tuple[int, int, str, bytes]]) -> None:
        super().__init__(daemon=True)
        self.fd = fd
        self.pairs = pairs
        self.statuses: list[int] = []

    def run(self) -> None:
        assert self.fd.recv(self.BYTES)[0] == 100
        self.fd.send(struct.pack("=BBH", 100, 0, 0).ljust(self.BYTES, b"\0"))
        for operation, pool, key, value in self.pairs:
            head = struct.pack("=BBHIII", operation, pool, 0, 1, len(key) + 1, len(value) + 1)
            body = key.encode().ljust(512, b"\0") + value.ljust(2048, b"\0")
            self.fd.send((head + body).ljust(self.BYTES, b"\0"))
            self.statuses.append(struct.unpack_from("=I", self.fd.recv(self.BYTES))[0])


Hyperv = Callable[[list[tuple[int, int, str, bytes]]], tuple[Host, list[hyperv.Pool]]]


@pytest.fixture
def hyperv_host(outside: Any) -> Iterator[Hyperv]:
    opened: list[socket.socket] = []

    def run(pairs: list[tuple[int, int, str, bytes]]) -> tuple[Host, list[hyperv.Pool]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened.extend([ours, theirs])
        host = Host(theirs, pairs)
        host.start()
        pools = hyperv.receive_pools(ours.fileno(), outside.clock)
        host.join(2)
        return host, pools

    yield run
    for each in opened:
        each.close()


def test_hypervs_pairs_are_received_and_answered(hyperv_host: Hyperv) -> None:
    host, pools = hyperv_host([(1, 0, "ignition.config", CONFIG), (1, 3, "HostName", b"h"), (3, 0, "", b"")])
    assert pools[0] == {"ignition.config": CONFIG}
    assert pools[3] == {"HostName": b"h"}
    assert host.statuses == [0, 0, 0x80070032]


def test_a_large_config_is_in_several_values(hyperv_host: Hyperv) -> None:
    parts = [b"a" * 1000, b"b" * 1000, b"c"]
    _, pools = hyperv_host([(1, 0, f"ignition.config.{n}", part) for n, part in reversed(list(enumerate(parts)))])
    assert hyperv.find_config(pools[0]) == b"".join(parts)


def test_hyperv_without_the_key_has_no_config() -> None:
    assert hyperv.find_config({"other": b"x"}) is None


def test_hyperv_without_the_device_has_no_config(guest: Guest) -> None:
    assert guest.fetch("hyperv") is None


def test_hypervs_pools_are_kept_for_its_daemon(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.write("dev/vmbus/hv_kvp", b"")
    monkeypatch.setattr(hyperv, "receive_pools", lambda *_: [{"ignition.config": CONFIG}, {}, {}, {"a": b"b"}, {}])
    assert guest.fetch("hyperv") == Fetched("Hyper-V key ignition.config", CONFIG)
    path = guest.root / "var/lib/hyperv/.kvp_pool_3"
    assert path.read_bytes() == b"a".ljust(512, b"\0") + b"b".ljust(2048, b"\0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# VirtualBox


class GuestProperties:
    """The driver /dev/vboxguest and the host's service behind it (linux/vboxguest.h)."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.sessions = 0

    def ioctl(self, _fd: int, request: int, message: bytearray) -> int:
        number, size = request & 0xFF, request >> 16 & 0x3FFF
        assert request >> 30 == 3
        assert request >> 8 & 0xFF == ord("V")
        size_in, version, _, _, size_out, _ = struct.unpack_from("=IIIiII", message)
        assert size == len(message) == max(size_in, size_out)
        assert version == 0x10001
        status = {0: self._version, 4: self._connect, 5: self._disconnect, 7: self._call}[number](message)
        struct.pack_into("=i", message, 12, status)
        return 0

    def _version(self, message: bytearray) -> int:
        return 0 if struct.unpack_from("=I", message, 24)[0] >> 16 == 1 else -1

    def _connect(self, message: bytearray) -> int:
        assert struct.unpack_from("=I128s", message, 24)[1].rstrip(b"\0") == b"VBoxGuestPropSvc"
        struct.pack_into("=I", message, 24, 7)
        self.sessions += 1
        return 0

    def _disconnect(self, message: bytearray) -> int:
        assert struct.unpack_from("=I", message, 24)[0] == 7
        self.sessions -= 1
        return 0

    def _call(self, message: bytearray) -> int:
        client, function, _, _, _, count = struct.unpack_from("=IIIBBH", message, 24)
        assert client == 7
        parameters = [struct.unpack_from("=IIQ", message, 40 + 16 * n) for n in range(count)]
        name = ctypes.string_at(parameters[0][2], parameters[0][1]).rstrip(b"\0").decode()
        if name not in self.values:
            return -78
        if function == 4:
            del self.values[name]
            return 0
        value = self.values[name] + b"\0flags\0"
        struct.pack_into("=II", message, 40 + 16 * 3, 1, len(value))
        if len(value) > parameters[1][1]:
            return -41
        ctypes.memmove(parameters[1][2], value, len(value))
        return 0


@pytest.fixture
def virtualbox(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> GuestProperties:
    properties = GuestProperties()
    monkeypatch.setattr(fcntl, "ioctl", properties.ioctl)
    guest.write("dev/vboxguest", b"")
    return properties


def test_virtualboxs_config_is_a_guest_property(guest: Guest, virtualbox: GuestProperties) -> None:
    virtualbox.values["/Ignition/Config"] = CONFIG
    assert guest.fetch("virtualbox") == Fetched("guest property /Ignition/Config", CONFIG)
    assert virtualbox.sessions == 0


def test_virtualbox_without_the_property_has_no_config(guest: Guest, virtualbox: GuestProperties) -> None:
    assert guest.fetch("virtualbox") is None


def test_an_encoded_guest_property_is_refused(guest: Guest, virtualbox: GuestProperties) -> None:
    virtualbox.values |= {"/Ignition/Config": CONFIG, "/Ignition/Config/Encoding": b"base64"}
    with pytest.raises(ConfigUnavailable, match="Encoding is not empty"):
        guest.fetch("virtualbox")


def test_virtualboxs_config_is_deleted_afterwards(guest: Guest, virtualbox: GuestProperties) -> None:
    virtualbox.values |= {"/Ignition/Config": CONFIG, "/Other": b"x"}
    guest.delete("virtualbox")
    assert virtualbox.values == {"/Other": b"x"}


def test_a_config_that_cannot_be_deleted_is_deleted_later(guest: Guest, virtualbox: GuestProperties) -> None:
    """CVE-2022-1706's class: what stays readable for everybody in the machine must not be forgotten."""
    device = guest.root / "dev/vboxguest"
    virtualbox.values |= {"/Ignition/Config": CONFIG}
    with Root(guest.root) as root:
        write_deletion_note(root, "virtualbox")
        away = device.rename(device.with_name("away"))
        assert not delete_kept_config(root, guest.places, Log(guest.log, priorities=False))
        assert "everybody in this machine can read its config from virtualbox" in guest.log.getvalue()
        assert virtualbox.values == {"/Ignition/Config": CONFIG}
        away.rename(device)
        assert delete_kept_config(root, guest.places, Log(guest.log, priorities=False))
        assert virtualbox.values == {}
        assert not root.has(TO_DELETE)


def test_without_virtualboxs_driver_it_says_what_is_missing(guest: Guest) -> None:
    with pytest.raises(ConfigUnavailable, match="module vboxguest"):
        guest.fetch("virtualbox")


# VMware


class Hypervisor:
    """VMware's remote procedure calls over a vsock."""

    def __init__(self, outside: Any, variables: dict[str, str]) -> None:
        self.variables = variables
        self._listener = socket.create_server(("127.0.0.1", 0))
        outside.ports["vsock:0", 976] = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                (size,) = struct.unpack("!I", reader.read(4))
                connection.sendall(make_message(self._answer(parse_message(reader.read(size)).decode()).encode()))

    def _answer(self, command: str) -> str:
        verb, name, *value = command.split(" ", 2)
        if verb == "info-set":
            self.variables[name] = value[0]
            return "1 "
        return f"1 {self.variables[name]}" if name in self.variables else "0 No value found"


@pytest.fixture
def vmware(outside: Any) -> Iterator[Callable[[dict[str, str]], Hypervisor]]:
    started: list[Hypervisor] = []

    def start(variables: dict[str, str]) -> Hypervisor:
        started.append(Hypervisor(outside, variables))
        outside.clock.speed = 1
        return started[-1]

    yield start
    for each in started:
        each.close()


VMware = Callable[[dict[str, str]], Hypervisor]
DATA, ENCODING = "guestinfo.ignition.config.data", "guestinfo.ignition.config.data.encoding"


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (CONFIG.decode(), None),
        (CONFIG.decode(), ""),
        (in_base64(CONFIG), "base64"),
        (in_base64(CONFIG), "b64"),
        (in_base64(gzip.compress(CONFIG)), "gzip+base64"),
        (in_base64(gzip.compress(CONFIG)), "gz+b64"),
    ],
)
@pytest.mark.parametrize("through", ["guestinfo", "ovf"])
def test_vmwares_config_in_every_encoding(
    guest: Guest, vmware: VMware, value: str, encoding: str | None, through: str
) -> None:
    variables = {DATA: value} | ({} if encoding is None else {ENCODING: encoding})
    vmware(variables if through == "guestinfo" else {"guestinfo.ovfenv": environment(variables)})
    found = guest.fetch("vmware")
    assert found is not None
    assert found.data == CONFIG


def environment(properties: dict[str, str]) -> str:
    rows = "".join(
        f"<Property oe:key={quoted(key)} oe:value={quoted(value)}/>" for key, value in {"a": "b", **properties}.items()
    )
    namespace = OVF_NAMESPACE
    head = f'<Environment xmlns="{namespace}" xmlns:oe="{namespace}" oe:id="">'
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<PropertySection>{rows}</PropertySection></Environment>'


def quoted(text: str) -> str:
    return '"' + text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") + '"'


@pytest.mark.parametrize("variables", [{}, {DATA: ""}, {"guestinfo.ovfenv": environment({})}])
def test_vmware_without_a_config(guest: Guest, vmware: VMware, variables: dict[str, str]) -> None:
    vmware(variables)
    assert guest.fetch("vmware") is None


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({DATA: "x", ENCODING: "rot13"}, "'rot13', which is not known"),
        ({DATA: "{}", ENCODING: "base64"}, "not base64"),
        ({DATA: in_base64(b"plain text"), ENCODING: "gzip+base64"}, "not valid gzip"),
        ({"guestinfo.ovfenv": "<Environment>"}, "not valid XML"),
        ({"guestinfo.ovfenv": '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'}, "defines entities"),
    ],
)
def test_what_vmware_gives_in_a_wrong_form_is_an_error(
    guest: Guest, vmware: VMware, variables: dict[str, str], says: str
) -> None:
    vmware(variables)
    with pytest.raises(ConfigUnavailable, match=says):
        guest.fetch("vmware")


def test_vmwares_config_is_taken_away_afterwards(guest: Guest, vmware: VMware) -> None:
    host = vmware({DATA: CONFIG.decode(), "guestinfo.ovfenv": environment({DATA: "secret"})})
    guest.delete("vmware")
    assert host.variables[DATA] == "e30K"
    assert host.variables[ENCODING] == "base64"
    assert read_properties(host.variables["guestinfo.ovfenv"]) == {"a": "b"}


def test_an_old_vmware_is_asked_by_its_own_program(guest: Guest, outside: Any) -> None:
    class Rpctool(Programs):
        def find(self, name: str) -> str | None:
            return f"/usr/bin/{name}"

        def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
            if argv[0] == "modprobe":
                return 0, ""
            assert argv[0] == "vmware-rpctool"
            return (0, CONFIG.decode() + "\n") if argv[1] == f"info-get {DATA}" else (1, "No value found")

    guest.places = Places(guest.root, Rpctool(), outside)
    found = guest.fetch("vmware")
    assert found is not None
    assert found.data == CONFIG


def test_vmware_without_either_says_what_is_missing(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(guest.places.programs), "find", lambda *_: None)
    with pytest.raises(ConfigUnavailable, match="open-vm-tools"):
        guest.fetch("vmware")


@pytest.mark.parametrize("message", [b"", b"\0" * 3, struct.pack("!III", 2, 2, 99) + b"x", struct.pack("!II", 9, 9)])
def test_a_message_of_no_hypervisor_is_refused(message: bytes) -> None:
    with pytest.raises(ConfigUnavailable, match="not understood"):
        parse_message(message)


# Which platform it is


@pytest.mark.parametrize(
    ("firmware", "platform"),
    [
        ({"chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77", "product_name": "Virtual Machine"}, "azure"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, "hyperv"),
        ({"sys_vendor": "Amazon EC2", "product_name": "t3.micro"}, "aws"),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, "gcp"),
        ({"sys_vendor": "Hetzner", "product_name": "vServer"}, "hetzner"),
        ({"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova"}, "openstack"),
        ({"sys_vendor": "VMware, Inc.", "product_name": "VMware20,1"}, "vmware"),
        ({"sys_vendor": "innotek GmbH", "product_name": "VirtualBox"}, "virtualbox"),
        ({"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"}, "metal"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro"}, "metal"),
        ({}, "metal"),
    ],
)
def test_a_platform_is_recognised_by_its_firmware(guest: Guest, firmware: dict[str, str], platform: str) -> None:
    for name, value in firmware.items():
        guest.write(f"sys/class/dmi/id/{name}", f"{value}\n")
    assert detect_platform(guest.places) == platform


def test_the_command_line_decides_before_the_firmware(guest: Guest) -> None:
    guest.write("sys/class/dmi/id/sys_vendor", "Hetzner\n")
    guest.write("proc/cmdline", "quiet ignition.platform.id=aws ignition.platform.id=metal\n")
    assert detect_platform(guest.places) == "metal"
