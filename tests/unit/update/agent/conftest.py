"""A machine in a directory: its disk, its EFI system partition, its firmware's variables, and what it starts."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from update.agent import fetcher, online
from update.agent.fetcher import Limits
from update.agent.host import Host
from update.agent.settings import ROOT, SETTINGS
from update.documents import (
    RELEASE_FILE,
    Channel,
    ChannelRelease,
    Release,
    ReleasePart,
    TransferFile,
    format_channel,
    format_release,
)
from update.errors import UpdateError
from update.gpt import HEAD, TYPES, parse_gpt
from vm.fakes.web import Reply, WebServer

SECTOR, ENTRY = 512, 128
SLOT = 64 * 1024  # bytes of a partition for a root
LAYOUT = [("esp", "esp"), *[(kind, label) for label in "AB" for kind in ("root", "root-verity", "root-verity-sig")]]
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
ROOTHASH = "0123456789abcdef" * 4
Make = Callable[..., Path]
ROLES = ("root", "timestamp", "snapshot", "targets")
NOW = datetime.now(UTC).replace(microsecond=0)


def type_of(name: str) -> UUID:
    return next(uuid for uuid, each in TYPES.items() if each == name)


class FakeMachine:
    """What the agent changes and asks. It runs version 1 of ``demo`` from slot A, and slot B is empty."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.time = 1_800_000_000.0
        self.calls: list[list[str]] = []
        self.answers: dict[str, str] = {}
        self.fail: dict[str, str] = {}
        self.esp = root / "esp-partition"
        (self.esp / "EFI/Linux").mkdir(parents=True)
        self.image = root / "image"  # its own root, below what the machine has over it
        (self.image / "etc").mkdir(parents=True)
        for directory in (
            "run",
            "var/lib",
            "usr/lib/build-os",
            "dev",
            "sys/firmware/efi/efivars",
            "proc/sys/kernel/random",
        ):
            (root / directory).mkdir(parents=True)
        (root / "usr/lib/build-os/updates.json").write_text('{"arch": "amd64", "tries": 3}')
        self.boot("1", "a" * 32)
        self.add_image("demo_1.efi", "1")
        self._make_disk()

    @property
    def host(self) -> Host:
        return Host(self.root, self.run, self.decompress, lambda: self.time)

    def boot(self, version: str, boot_id: str, *, counted: bool = False) -> None:
        """Another boot, of this version."""
        (self.root / "usr/lib/os-release").write_text(f"IMAGE_ID=demo\nIMAGE_VERSION={version}\n")
        (self.root / "proc/sys/kernel/random/boot_id").write_text(str(UUID(boot_id)) + "\n")
        variable = self.root / f"sys/firmware/efi/efivars/LoaderBootCountPath-{LOADER}"
        variable.unlink(missing_ok=True)
        if counted:
            variable.write_bytes(b"\7\0\0\0" + "\\EFI\\Linux\\x.efi\0".encode("utf-16-le"))
        shutil.rmtree(self.root / "run")
        (self.root / "run").mkdir()

    def count_boot(self) -> None:
        """What systemd-boot does with the newest kernel image that is on trial."""
        image = next(each for each in self.list_images() if re.search(r"\+[1-9]", each))
        name, left, done = re.fullmatch(r"(.*)\+(\d+)-(\d+)\.efi", image).groups()  # type: ignore[union-attr]
        self.rename(image, f"{name}+{int(left) - 1}-{int(done) + 1}.efi")

    def add_image(self, name: str, version: str) -> None:
        (self.esp / "EFI/Linux" / name).write_text(f"kernel of {version} roothash={ROOTHASH} rw")

    def rename(self, name: str, other: str) -> None:
        (self.esp / "EFI/Linux" / name).rename(self.esp / "EFI/Linux" / other)

    def list_images(self) -> list[str]:
        return sorted(path.name for path in (self.esp / "EFI/Linux").iterdir())

    def list_labels(self) -> list[str]:
        return [each.name for each in parse_gpt(self.disk.read_bytes()[:HEAD])]

    def set_label(self, number: int, label: str, uuid: str | None = None) -> None:
        offset = 2 * SECTOR + (number - 1) * ENTRY
        data = bytearray(self.disk.read_bytes())
        data[offset + 56 : offset + 128] = label.encode("utf-16-le").ljust(72, b"\0")
        if uuid is not None:
            data[offset + 16 : offset + 32] = UUID(uuid).bytes_le
        self.disk.write_bytes(data)

    def _make_disk(self) -> None:
        self.disk = self.root / "dev/vda"
        head = bytearray(HEAD)
        struct.pack_into("<8s64xQII", head, SECTOR, b"EFI PART", 2, ENTRY, ENTRY)
        for index, (kind, label) in enumerate(LAYOUT):
            start = HEAD // SECTOR + index * SLOT // SECTOR
            name = {"A": "demo_1", "B": "_empty"}.get(label, label)
            entry = struct.pack("<16s16sQQQ", type_of(kind).bytes_le, bytes(16), start, start + SLOT // SECTOR - 1, 0)
            struct.pack_into(f"{len(entry)}s72s", head, 2 * SECTOR + index * ENTRY, entry, name.encode("utf-16-le"))
        self.disk.write_bytes(head + bytes(len(LAYOUT) * SLOT))
        devices = self.root / "sys/devices/vda"
        for number in range(1, len(LAYOUT) + 1):
            (devices / f"vda{number}").mkdir(parents=True)
            (devices / f"vda{number}/partition").write_text(f"{number}\n")
        blocks = self.root / "sys/class/block"
        blocks.mkdir(parents=True)
        (blocks / "vda").symlink_to(devices)
        (blocks / "dm-0/dm").mkdir(parents=True)
        (blocks / "dm-0/slaves").mkdir()
        (blocks / "dm-0/dm/name").write_text("root\n")
        for number in (2, 3):
            (blocks / f"dm-0/slaves/vda{number}").symlink_to(devices / f"vda{number}")

    def decompress(self, path: Path) -> Iterator[bytes]:
        """Nothing is compressed here."""
        yield path.read_bytes()

    def run(self, argv: Sequence[str], timeout: float = 0) -> str:
        self.calls.append(list(argv))
        if argv[0] in self.fail:
            raise UpdateError(f"{argv[0]} failed with status 1\n  {self.fail[argv[0]]}")
        if argv[0] == "mount":
            Path(argv[-1]).rmdir()
            Path(argv[-1]).symlink_to(self.image if "--bind" in argv else self.esp)
        elif argv[0] == "umount":
            Path(argv[-1]).unlink()
            Path(argv[-1]).mkdir()
        elif argv[0] == "systemd-bless-boot":
            esp = Path(argv[1].partition("=")[2]) / "EFI/Linux"
            image = next(each for each in esp.iterdir() if "+" in each.name)
            image.rename(esp / re.sub(r"\+.*", ".efi", image.name))
        elif argv[0] == "systemd-sysupdate":
            directory = next(each for each in argv if each.startswith("--definitions=")).partition("=")[2]
            for path in sorted(Path(directory).iterdir()):
                self._transfer(path, argv[-1])
        return next((answer for start, answer in self.answers.items() if " ".join(argv).startswith(start)), "")

    def _transfer(self, path: Path, version: str) -> None:
        """What systemd-sysupdate 257 was seen to do."""
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[method-assign,assignment]
        parser.read_string(path.read_text())
        source, target = parser["Source"], parser["Target"]
        data = (Path(source["Path"]) / source["MatchPattern"].replace("@v", version)).read_bytes()
        if target["Type"] == "regular-file":
            name = target["MatchPattern"].split()[0].replace("@v", version)
            name = name.replace("@l", target["TriesLeft"]).replace("@d", target["TriesDone"])
            fresh = Path(target["Path"]) / f".#{name}"
            fresh.write_bytes(data)
            fresh.replace(Path(target["Path"]) / name)
            return
        running = target["MatchPattern"].replace("@v", parser["Transfer"]["ProtectVersion"])
        partition = next(
            each
            for each in parse_gpt(self.disk.read_bytes()[:HEAD])
            if each.type == target["MatchPartitionType"] and each.name != running
        )
        self.set_label(partition.number, "_empty")
        with self.disk.open("r+b") as disk:
            disk.seek(partition.start)
            disk.write(data)
        self.set_label(partition.number, target["MatchPattern"].replace("@v", version), target.get("PartitionUUID"))


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "machine")


@pytest.fixture
def payload(tmp_path: Path) -> Callable[..., Path]:
    """Makes a directory with a version, and lets a test change its parts and what is said of them."""

    def make(version: str = "2", *, name: str = "demo", arch: str = "amd64", **parts: bytes) -> Path:
        directory = tmp_path / f"payload-{version}-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        contents = {
            "root": f"root of {version}".encode() * 100,
            "verity": f"verity of {version}".encode(),
            "uki": f"kernel of {version} roothash={ROOTHASH} rw".encode(),
            **parts,
        }
        made = {}
        for part, data in contents.items():
            (directory / f"{part}.zst").write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            uuid = str(UUID(ROOTHASH[:32])) if part == "root" else None
            made[part] = ReleasePart(len(data), digest, uuid, (TransferFile(f"{part}.zst", len(data), digest),))
        release = Release(name, version, arch, ROOTHASH, made)
        (directory / RELEASE_FILE).write_bytes(format_release(release))
        return directory

    return make


class Publisher:
    """A repository, and how it can be wrong."""

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.keys = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.expires = dict.fromkeys(ROLES, NOW + timedelta(days=10))
        self.version = 1
        self.targets: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}  # of its directory, by path
        self.root = self.make_root()

    def make_root(self) -> bytes:
        root = Root(expires=self.expires["root"], consistent_snapshot=True)
        for role in ROLES:
            root.add_key(self.keys[role].public_key, role)
        return self._sign(root, "root")

    def _sign(self, signed: Any, role: str) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.keys[role])
        return metadata.to_bytes()

    def add(self, path: str, data: bytes) -> None:
        self.targets[path] = data

    def publish(self) -> None:
        """Sign all of it as the version that is next."""
        number = self.version
        targets = Targets(version=number, expires=self.expires["targets"])
        for path, data in self.targets.items():
            targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])
            directory, slash, name = path.rpartition("/")
            self.serve(f"targets/{directory}{slash}{hashlib.sha256(data).hexdigest()}.{name}", data)
        snapshot = Snapshot(version=number, expires=self.expires["snapshot"], meta={"targets.json": MetaFile(number)})
        timestamp = Timestamp(version=number, expires=self.expires["timestamp"], snapshot_meta=MetaFile(number))
        self.serve(f"metadata/{number}.targets.json", self._sign(targets, "targets"))
        self.serve(f"metadata/{number}.snapshot.json", self._sign(snapshot, "snapshot"))
        self.serve("metadata/timestamp.json", self._sign(timestamp, "timestamp"))
        self.version += 1

    def serve(self, path: str, data: bytes) -> None:
        self.files[path] = data
        self.server.put(f"/{path}", Reply(data))

    def locate(self, name: str) -> str:
        """The path at which the server has a file of the version."""
        path = next(path for path in self.targets if path.endswith(f"/{name}"))
        directory = path.rpartition("/")[0]
        return f"/targets/{directory}/{hashlib.sha256(self.targets[path]).hexdigest()}.{name}"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def publisher(machine: FakeMachine, server: WebServer, payload: Make, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """It has version 2 in the channel ``stable``, and the machine knows of it."""
    publisher = Publisher(server)
    for file in payload("2", root=b"root of 2" * 5000).iterdir():
        publisher.add(f"demo/amd64/2/{file.name}", file.read_bytes())
    channel = Channel("demo", "amd64", "stable", (ChannelRelease("2", 0),))
    publisher.add("demo/amd64/channels/stable.json", format_channel(channel))
    publisher.publish()
    settings = {"arch": "amd64", "tries": 3, "url": server.url("").rstrip("/")}
    (machine.root / SETTINGS.lstrip("/")).write_text(json.dumps(settings))
    root = machine.root / ROOT.lstrip("/")
    root.parent.mkdir(parents=True)
    root.write_bytes(publisher.root)
    machine.time = NOW.timestamp()
    limits = Limits(slowest=1000, slow_seconds=0.3, metadata_seconds=0.5, pause=0)
    monkeypatch.setattr(fetcher, "READ_SECONDS", 1)
    monkeypatch.setattr(online, "Limits", lambda: limits)
    return publisher
