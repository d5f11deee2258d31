"""Config drives: file systems with a label that a platform attaches and a config is on.

They are mounted, read-only, by the kernel: its file systems know all that tools for making such drives do (Rock
Ridge, Joliet, long names), and a reader of our own would be one more parser of what others write. Labels are read
here, because nothing else has to be running for that.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstboot.apply.programs import ProgramError
from firstboot.config.lazy import import_lazily
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import MAX_BYTES
from firstboot.fetch.clock import Deadline
from firstboot.fetch.errors import FetchError
from firstboot.fetch.settings import PROVIDER_SECONDS
from firstboot.log import Log
from firstboot.places import RUN_DIRECTORY, Places
from firstboot.platforms import ConfigUnavailable, Fetched
from firstboot.platforms.shared.metadata import Metadata, MetadataProvider, find_attributes

if TYPE_CHECKING:
    import yaml
else:
    yaml = import_lazily("yaml")

DRIVERS = ("sr_mod", "isofs", "udf", "vfat", "nls_cp437", "nls_ascii", "nls_utf8")
_POLL_SECONDS = 0.25
_SUPERBLOCKS_BYTES = 0x8800  # of all these file systems together


def read_label(device: Path) -> str | None:
    """The label of an ISO 9660, FAT or ext file system; ``None`` for any other content."""
    try:
        with device.open("rb", buffering=0) as file:
            head = file.read(_SUPERBLOCKS_BYTES) or b""
    except OSError:  # a drive without a medium among them
        return None
    if head[0x8001:0x8006] == b"CD001":  # ECMA-119, 8.4
        return _text(head[0x8028:0x8048])
    if head[0x52:0x57] == b"FAT32":
        return _text(head[0x47:0x52])
    if head[0x36:0x39] == b"FAT":
        return _text(head[0x2B:0x36])
    if len(head) >= 0x490 and struct.unpack_from("<H", head, 0x438)[0] == 0xEF53:  # ext2, ext3, ext4
        return _text(head[0x478:0x488])
    return None


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace").rstrip(" ")


def find_block_devices(places: Places) -> Iterator[Path]:
    """Block devices with something in them."""
    for entry in sorted((places.sys / "class" / "block").glob("*")):
        try:
            size = int((entry / "size").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if size:
            yield places.dev / entry.name.replace("!", "/")


def find_drive(places: Places, labels: tuple[str, ...]) -> Path | None:
    """The device whose file system has one of the labels, whatever their case: FAT has only capitals.

    udev's links come first, because it knows more kinds of file systems.
    """
    for label in labels:
        link = places.dev / "disk" / "by-label" / label
        if link.exists():
            return link.resolve()
    wanted = {label.lower() for label in labels}
    for device in find_block_devices(places):
        if (read_label(device) or "").lower() in wanted:
            return device
    return None


def load_drivers(places: Places) -> None:
    """What the initrd does not have: it only knows the way to its own disk."""
    for module in DRIVERS:
        places.load_module(module)


@contextmanager
def mount_drive(places: Places, device: Path, kinds: str) -> Iterator[Path]:
    """The content of a device, for reading.

    Args:
        kinds: file systems to try, as mount(8) takes them.

    Raises:
        ProgramError: it cannot be mounted.
    """
    directory = places.locate(f"{RUN_DIRECTORY}/drive")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    places.programs.run(["mount", "-t", kinds, "-o", "ro,nodev,nosuid,noexec", str(device), str(directory)])
    try:
        yield directory
    finally:
        places.programs.run(["umount", str(directory)])


def find_file(root: Path, path: str, limit: int = MAX_BYTES) -> bytes | None:
    """The content of a regular file below ``root``; links are not followed, they could lead out of it.

    Raises:
        ConfigUnavailable: it is too large, or cannot be read.
    """
    here = root
    for part in Path(path.lstrip("/")).parts:
        here = here / part
        if here.is_symlink():
            raise ConfigUnavailable(f"{path} of the config drive is or is below a symbolic link")
    try:
        fd = os.open(here, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigUnavailable(f"{path} of the config drive is not a file")
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigUnavailable(f"{path} of the config drive cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise ConfigUnavailable(f"{path} of the config drive is larger than {limit} bytes")
    return data


def read_drive_files(places: Places, device: Path, paths: tuple[str, ...]) -> dict[str, bytes]:
    """The contents of the files that are there, of those named.

    Raises:
        ConfigUnavailable
    """
    try:
        with mount_drive(places, device, "iso9660,udf,vfat,ext4") as root:
            contents = {path: find_file(root, path) for path in paths}
    except ProgramError as error:
        raise ConfigUnavailable(f"the config drive {device.name} cannot be read: {error}") from None
    return {path: data for path, data in contents.items() if data is not None}


def read_drive(places: Places, device: Path, paths: tuple[str, ...]) -> list[Fetched]:
    """The files that are there, of those named, as configs.

    Raises:
        ConfigUnavailable
    """
    contents = read_drive_files(places, device, paths)
    return [Fetched(f"{path} of the config drive {device.name}", data) for path, data in contents.items()]


def wait_for_drive(places: Places, log: Log, labels: tuple[str, ...], seconds: float = PROVIDER_SECONDS) -> Path | None:
    """The drive, as soon as it is there; ``None`` after ``seconds``."""
    load_drivers(places)
    clock = places.connector.clock
    deadline = Deadline(clock, seconds)
    is_said = False
    while True:
        device = find_drive(places, labels)
        if device is not None or deadline.left <= 0:
            return device
        if not is_said:
            log.note(f"waiting for a drive with the label {' or '.join(labels)}, at most {seconds:.0f} s")
            is_said = True
        clock.sleep(min(_POLL_SECONDS, max(deadline.left, 0)))


class DriveConfig(NamedTuple):
    """A config on a labelled drive.

    Attributes:
        paths: of files that may be it; the first that is there counts.
        is_required: whether it is an error if no such drive comes. Ignition waits for it for ever.
        seconds: how long the drive is waited for.
        hint: what to do where none comes.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    is_required: bool = True
    seconds: float = PROVIDER_SECONDS
    hint: str = "attach one, or give the machine another ignition.platform.id="

    def fetch(self, places: Places, log: Log) -> Fetched | None:
        """The config; ``None`` if there is none.

        Raises:
            ConfigUnavailable
        """
        return next(iter(self.fetch_all(places, log)), None)

    def fetch_all(self, places: Places, log: Log) -> list[Fetched]:
        """All of the files that are there.

        Raises:
            ConfigUnavailable
        """
        device = wait_for_drive(places, log, self.labels, self.seconds)
        if device is not None:
            return read_drive(places, device, self.paths)
        if self.is_required:
            message = f"no drive with the label {' or '.join(self.labels)} came within {self.seconds:.0f} s"
            raise ConfigUnavailable(message, self.hint)
        return []


def describe_drive_document(
    labels: tuple[str, ...],
    files: tuple[str, ...],
    paths: Mapping[str, str | tuple[str, ...]],
    *,
    hostname: str,
    find_keys: Callable[[Any], Iterable[str]] | None = None,
) -> MetadataProvider:
    """Metadata in a document of a config drive.

    Args:
        files: that may be it; the first that is there counts.
        paths: attributes and their paths in it.
        hostname: the attribute that is the machine's name.
        find_keys: finds the SSH keys in it.
    """

    def read(places: Places, log: Log) -> Metadata:
        document = read_document(places, log, labels, files)
        attributes = find_attributes(document, paths)
        return Metadata(attributes, attributes[hostname], tuple(find_keys(document) if find_keys is not None else ()))

    return MetadataProvider(read, tuple(paths), has_ssh_keys=find_keys is not None)


def read_document(places: Places, log: Log, labels: tuple[str, ...], files: tuple[str, ...]) -> Any:
    """The first of some documents of a config drive, JSON or YAML.

    Raises:
        FetchError: there is no drive, or none of them on it, or it is no mapping.
    """
    device = wait_for_drive(places, log, labels)
    documents = [] if device is None else read_drive(places, device, files)
    if not documents:
        raise FetchError(f"there is no drive labelled {' or '.join(labels)} with {' or '.join(files)}")
    try:
        document = yaml.safe_load(documents[0].data)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise FetchError(f"{documents[0].name} is neither JSON nor YAML") from None
    if not isinstance(document, dict):
        raise FetchError(f"{documents[0].name} is not a mapping")
    return document
