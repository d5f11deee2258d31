"""What a repository says of versions: ``release.json`` of each, and a document for each channel.

Both are JSON and targets of TUF, so whoever reads them on a machine has checked who wrote them. They are read as if
nobody had: every field has its type and its limits, and a document that breaks one is refused as a whole. Keys that are
not known are ignored, so that old machines read what newer publishers write; what an old machine must not ignore comes
with another ``format``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import CHANNEL_PATTERN
from update.errors import BadDocument
from update.times import format_time
from update.values import Value, find_twice, read_document, write_document
from update.versions import make_version_key

RELEASE_FILE = "release.json"
CHANNELS = "channels"  # the directory of an image's channels, beside its versions
MAX_SECONDS = 10 * 366 * 24 * 3600
# In the order in which they are written to a machine. The last makes a version one that can be booted.
PARTS = ("root", "verity", "signature", "uki")
REQUIRED_PARTS = ("root", "verity", "uki")
ZSTD = "zstd"
# What an extension is laid over (UAPI.4): /usr, or /etc.
EXTENSION_TYPES = ("sysext", "confext")
CATALOGUE_FILE = "extensions.json"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ARCH = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_CHANNEL = re.compile(CHANNEL_PATTERN)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~^-]{0,199}")
_METHOD = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class TransferFile(NamedTuple):
    """A file of the repository that lies beside ``release.json``. ``size`` in bytes; ``compression`` is ``zstd``."""

    name: str
    size: int
    sha256: str
    compression: str = ZSTD


class ReleasePart(NamedTuple):
    """One of :data:`PARTS` of a version, as it lies on a machine in the end.

    Attributes:
        size: bytes, without what fills up a partition.
        sha256: of these bytes.
        uuid: of the partition, or ``None`` where none is prescribed.
        files: what is transferred: their unpacked contents, one behind the other, are the part.
    """

    size: int
    sha256: str
    uuid: str | None
    files: tuple[TransferFile, ...]


class Delta(NamedTuple):
    """A file that makes a part of this version out of the same part of an older one.

    Attributes:
        source: the older version.
        part: of which part.
        name, size, sha256: the file that is transferred, beside ``release.json``.
        base_size, base_sha256: the older version's part, which must be exactly this.
        method: how it is applied.
    """

    source: str
    part: str
    name: str
    size: int
    sha256: str
    base_size: int
    base_sha256: str
    method: str


class ReleaseExtension(NamedTuple):
    """An extension of a version, which machines take that have it.

    Attributes:
        type: one of :data:`EXTENSION_TYPES`.
        description: what a machine gains by it, for people.
        part: its image.
    """

    name: str
    type: str
    description: str
    part: ReleasePart


class Release(NamedTuple):
    """A version, as ``release.json`` describes it. ``arch`` is Debian's name, ``roothash`` dm-verity's."""

    name: str
    version: str
    arch: str
    roothash: str
    parts: Mapping[str, ReleasePart]
    deltas: tuple[Delta, ...] = ()
    extensions: tuple[ReleaseExtension, ...] = ()

    def find_extension(self, name: str) -> ReleaseExtension | None:
        """An extension, by its name."""
        return next((extension for extension in self.extensions if extension.name == name), None)


class Rollout(NamedTuple):
    """A version is offered to a growing share of the machines.

    Attributes:
        start: seconds since 1970.
        duration: seconds until all have it.
    """

    start: int
    duration: int

    def compute_share(self, now: float) -> float:
        """To which share of the machines it is offered at this time (seconds since 1970): 0 to 1."""
        if now < self.start:
            return 0.0
        return 1.0 if now - self.start >= self.duration else (now - self.start) / self.duration


class ChannelRelease(NamedTuple):
    """A version in a channel, and to whom it is offered.

    Attributes:
        published: seconds since 1970.
        minimum, maximum: the installed version must be within, ends included.
        barrier: no machine may go past it without having run it.
        dead_end: why there is no way on from it, for the people of a machine that runs it.
        notes: what is new.
    """

    version: str
    published: int
    minimum: str | None = None
    maximum: str | None = None
    barrier: bool = False
    dead_end: str | None = None
    rollout: Rollout | None = None
    notes: str | None = None


class Channel(NamedTuple):
    """The versions of a channel, the oldest first."""

    name: str
    arch: str
    channel: str
    releases: tuple[ChannelRelease, ...] = ()


def make_release_path(name: str, arch: str, version: str, file: str = RELEASE_FILE) -> str:
    """Where a file of a version is among the targets."""
    return f"{name}/{arch}/{version}/{file}"


def make_channel_path(name: str, arch: str, channel: str) -> str:
    """Where a channel's document is among the targets."""
    return f"{name}/{arch}/{CHANNELS}/{channel}.json"


def is_channel_name(text: str) -> bool:
    """Whether a channel can be called so."""
    return _CHANNEL.fullmatch(text) is not None


def parse_release(data: bytes, where: str = RELEASE_FILE) -> Release:
    """Read ``release.json``.

    Args:
        where: what to call the document in messages.

    Raises:
        BadDocument: it is none, or one of another format.
    """
    document = read_document(data, where)
    parts = document.take("parts").parse_mapping()
    for name in parts:
        if name not in PARTS:
            raise document.complain(f"parts.{name}", f"is none of the parts {', '.join(PARTS)}")
    for name in REQUIRED_PARTS:
        if name not in parts:
            raise document.complain("parts", f"has no {name}")
    made = {name: _parse_part(parts[name]) for name in PARTS if name in parts}
    deltas = tuple(_parse_delta(item) for item in document.take("deltas", []).parse_items())
    extensions = tuple(_parse_extension(item) for item in document.take("extensions", []).parse_items())
    release = Release(
        name=document.take("name").parse_text(_NAME, "an image's name"),
        version=document.take("version").parse_version(),
        arch=document.take("arch").parse_text(_ARCH, "an architecture, like amd64"),
        roothash=document.take("roothash").parse_text(_SHA256, "64 hexadecimal digits"),
        parts=made,
        deltas=deltas,
        extensions=extensions,
    )
    all_parts = [*made.values(), *(extension.part for extension in extensions)]
    names = [file.name for part in all_parts for file in part.files] + [delta.name for delta in deltas]
    if twice := find_twice(names):
        raise BadDocument(f"{where}: two files have the name {twice}")
    if RELEASE_FILE in names:
        raise BadDocument(f"{where}: a part has the name {RELEASE_FILE}")
    if twice := find_twice(extension.name for extension in extensions):
        raise BadDocument(f"{where}: extensions has {twice} twice")
    if twice := find_twice(f"{delta.part} from {delta.source}" for delta in deltas):
        raise BadDocument(f"{where}: deltas has {twice} twice")
    for number, delta in enumerate(deltas):
        if delta.part not in made:
            raise BadDocument(f"{where}: deltas[{number}].part: there is no part {delta.part}")
        if delta.source == release.version:
            raise BadDocument(f"{where}: deltas[{number}].from: is the version itself")
    return release


def format_release(release: Release) -> bytes:
    """``release.json``; the same release gives the same bytes."""
    return write_document(
        {
            "name": release.name,
            "version": release.version,
            "arch": release.arch,
            "roothash": release.roothash,
            "parts": {name: _encode_part(part) for name, part in release.parts.items()},
            "deltas": [
                {
                    "from": delta.source,
                    "part": delta.part,
                    "name": delta.name,
                    "size": delta.size,
                    "sha256": delta.sha256,
                    "base": {"size": delta.base_size, "sha256": delta.base_sha256},
                    "method": delta.method,
                }
                for delta in release.deltas
            ],
            # A version without any is written as before there were such.
            **({"extensions": [_encode_extension(row) for row in release.extensions]} if release.extensions else {}),
        }
    )


def format_catalogue(name: str, arch: str, releases: Iterable[Release]) -> bytes:
    """``extensions.json``: which extensions an image has, in which of these versions, and how large they are.

    For programs and people that look around; machines read ``release.json`` of one version.
    """
    entries: dict[str, dict[str, object]] = {}
    for release in releases:
        for row in release.extensions:
            # The newest version says what it is.
            entry = entries.setdefault(row.name, {"name": row.name, "versions": []})
            entry |= {"type": row.type, "description": row.description}
            versions = entry["versions"]
            assert isinstance(versions, list)
            transfer = sum(file.size for file in row.part.files)
            versions.append({"version": release.version, "size": row.part.size, "transfer": transfer})
    return write_document({"name": name, "arch": arch, "extensions": [entries[key] for key in sorted(entries)]})


def make_catalogue_path(name: str, arch: str) -> str:
    """Where the catalogue of an image's extensions is among the targets."""
    return f"{name}/{arch}/{CATALOGUE_FILE}"


def _encode_part(part: ReleasePart) -> dict[str, object]:
    return {
        "size": part.size,
        "sha256": part.sha256,
        "uuid": part.uuid,
        "files": [
            {"name": file.name, "size": file.size, "sha256": file.sha256, "compression": file.compression}
            for file in part.files
        ],
    }


def _encode_extension(extension: ReleaseExtension) -> dict[str, object]:
    return {
        "name": extension.name,
        "type": extension.type,
        "description": extension.description or None,
        **_encode_part(extension.part),
    }


def parse_channel(data: bytes, where: str = "channel") -> Channel:
    """Read a channel's document; its versions come back sorted.

    Raises:
        BadDocument: it is none, or one of another format; two of its versions are the same.
    """
    document = read_document(data, where)
    releases = sorted(
        (_parse_channel_release(item) for item in document.take("releases").parse_items()),
        key=lambda release: make_version_key(release.version),
    )
    for one, other in pairwise(releases):
        if make_version_key(one.version) == make_version_key(other.version):
            raise BadDocument(f"{where}: releases: {one.version} and {other.version} are the same version")
    return Channel(
        name=document.take("name").parse_text(_NAME, "an image's name"),
        arch=document.take("arch").parse_text(_ARCH, "an architecture, like amd64"),
        channel=document.take("channel").parse_text(_CHANNEL, "a channel's name"),
        releases=tuple(releases),
    )


def format_channel(channel: Channel) -> bytes:
    """A channel's document; the same channel gives the same bytes."""
    return write_document(
        {
            "name": channel.name,
            "arch": channel.arch,
            "channel": channel.channel,
            "releases": [
                {
                    "version": release.version,
                    "published": format_time(release.published),
                    "minimum": release.minimum,
                    "maximum": release.maximum,
                    "barrier": release.barrier,
                    "dead_end": release.dead_end,
                    "rollout": None
                    if release.rollout is None
                    else {"start": format_time(release.rollout.start), "duration": release.rollout.duration},
                    "notes": release.notes,
                }
                for release in sorted(channel.releases, key=lambda release: make_version_key(release.version))
            ],
        }
    )


def _parse_part(value: Value) -> ReleasePart:
    files = tuple(_parse_file(item) for item in value.take("files").parse_items())
    if not files:
        raise value.complain("files", "is empty")
    uuid = value.take("uuid", None)
    return ReleasePart(
        value.take("size").parse_size(),
        value.take("sha256").parse_text(_SHA256, "64 hexadecimal digits"),
        None if uuid.value is None else uuid.parse_uuid(),
        files,
    )


def _parse_extension(value: Value) -> ReleaseExtension:
    return ReleaseExtension(
        value.take("name").parse_text(_NAME, "an extension's name"),
        value.take("type").parse_text(re.compile("|".join(EXTENSION_TYPES)), f"one of {', '.join(EXTENSION_TYPES)}"),
        value.take("description", None).parse_prose() or "",
        _parse_part(value),
    )


def _parse_file(value: Value) -> TransferFile:
    return TransferFile(
        value.take("name").parse_text(_FILE_NAME, "a file's name"),
        value.take("size").parse_size(),
        value.take("sha256").parse_text(_SHA256, "64 hexadecimal digits"),
        value.take("compression").parse_text(re.compile(ZSTD), f"'{ZSTD}'"),
    )


def _parse_delta(value: Value) -> Delta:
    base = value.take("base")
    return Delta(
        source=value.take("from").parse_version(),
        part=value.take("part").parse_text(re.compile("|".join(PARTS)), f"one of {', '.join(PARTS)}"),
        name=value.take("name").parse_text(_FILE_NAME, "a file's name"),
        size=value.take("size").parse_size(),
        sha256=value.take("sha256").parse_text(_SHA256, "64 hexadecimal digits"),
        base_size=base.take("size").parse_size(),
        base_sha256=base.take("sha256").parse_text(_SHA256, "64 hexadecimal digits"),
        method=value.take("method").parse_text(_METHOD, "a method's name"),
    )


def _parse_channel_release(value: Value) -> ChannelRelease:
    rollout = value.take("rollout", None)
    minimum, maximum = value.take("minimum", None), value.take("maximum", None)
    return ChannelRelease(
        version=value.take("version").parse_version(),
        published=value.take("published").parse_time(),
        minimum=None if minimum.value is None else minimum.parse_version(),
        maximum=None if maximum.value is None else maximum.parse_version(),
        barrier=value.take("barrier", False).parse_boolean(),
        dead_end=value.take("dead_end", None).parse_prose(),
        rollout=None
        if rollout.value is None
        else Rollout(rollout.take("start").parse_time(), rollout.take("duration").parse_whole_number(MAX_SECONDS)),
        notes=value.take("notes", None).parse_prose(),
    )
