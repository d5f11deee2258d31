"""A version is published: its payload, deltas from the versions before it, what a channel says of it, the metadata."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from builder.core.console import Console, format_size
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.image import Image
from builder.core.locks import hold_lock
from builder.core.tools import Tools
from builder.publishing.channels import Offer, add_release, list_pruned, remove_releases
from builder.publishing.deltas import BLOCKS, make_delta
from builder.publishing.extensions import (
    ExtensionOrigin,
    merge_extensions,
    prepare_extensions,
    put_catalogue,
)
from builder.publishing.keys import ROOT_FILE, find_signers, is_development
from builder.publishing.payload import Payload, open_payload
from builder.publishing.repository import LOCK, Repository, open_repository
from builder.signatures.signing_command import SigningCommand
from update.delta import METHOD
from update.documents import (
    CHANNELS,
    RELEASE_FILE,
    Channel,
    Delta,
    Release,
    ReleaseExtension,
    format_channel,
    format_release,
    make_channel_path,
    make_release_path,
    parse_channel,
    parse_release,
)
from update.errors import BadDocument
from update.versions import compare_versions, make_version_key

SCRATCH = ".new-"
# A delta that is larger than this part of what it replaces is not worth a machine's work.
WORTH = 0.6

PRODUCT = "update"


@dataclass(frozen=True)
class Origin:
    """What is published: the payload of a build, and the tools that built it."""

    payload: Path
    name: str
    version: str
    arch: str
    tools: Tools
    extensions: tuple[ExtensionOrigin, ...] = ()


def make_origin(image: Image, console: Console) -> Origin:
    """What is published of a build.

    Raises:
        InputError: it was made without the payload of an update.
    """
    if PRODUCT not in image.artifacts:
        raise InputError(
            f"{image.name} was built without the payload of an update",
            details=(f"{image.directory} has: {', '.join(sorted(image.artifacts)) or 'nothing'}",),
            hint=f"add '{PRODUCT}' to the definition's outputs and build again",
        )
    payload = image.require_artifact(PRODUCT).path
    return Origin(payload, image.name, image.version, image.arch, Tools(image.tools, console))


@dataclass
class Published:
    """What became of a repository. Sizes in bytes; ``deltas`` by the version that they are from, of all parts."""

    version: str = ""
    full: int = 0
    deltas: dict[str, int] = field(default_factory=dict)
    pruned: list[str] = field(default_factory=list)
    freed: int = 0


@contextmanager
def change_repository(
    directory: Path,
    keys: Path,
    console: Console,
    now: int,
    *,
    sweep: bool = False,
    command: SigningCommand | None = None,
    release: bool = False,
) -> Iterator[Repository]:
    """A repository to be changed, by one publisher at a time; it is signed and written when the block has ended.

    Args:
        now: seconds since 1970.
        sweep: remove, at the end, the files that nothing leads to.
        command: signs with keys that are not in ``keys``.
        release: others rely on what is published: refuse development keys.

    Raises:
        InputError, SourceError: see :func:`open_repository`; a key is missing, or for development.
        OSError: the disk is full, or fails; the repository is as it was then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with hold_lock(directory / LOCK, console, "publishing into this repository"):
        for left in directory.glob(f"{SCRATCH}*"):  # by a publisher that was killed
            shutil.rmtree(left)
        repository = open_repository(directory, keys / ROOT_FILE)
        root = repository.root.signed
        if is_development(root):
            if release:
                raise InputError(
                    f"{directory} is signed by development keys, and this is to be a release",
                    hint="'build-os key DIR --for updates' without --dev makes others",
                )
            console.warn(f"{directory} is signed by development keys: machines that people rely on want others")
        if root.expires.timestamp() < now:
            raise InputError(
                f"the root of {directory} has expired, and machines accept nothing that it vouches for",
                hint=f"sign a new one: 'build-os key {keys} --for updates --renew'",
            )
        try:
            yield repository
            repository.write(partial(find_signers, keys, root, command=command), now)
        except BaseException:
            repository.discard()
            raise
        if sweep:
            console.note(f"{format_size(repository.sweep())} freed")


def publish_build(
    repository: Repository,
    origin: Origin,
    channel: str,
    offer: Offer,
    deltas: int,
    console: Console,
    now: int,
    *,
    for_release: bool = False,
) -> Published:
    """Add what was built, and offer it in a channel.

    Args:
        deltas: from how many of the versions before.
        for_release: others rely on it, so extensions that were published before must be named again, to be looked at.

    Raises:
        InputError: this version is there with other content; the offer makes no sense.
        SourceError: payload or repository are damaged.
    """
    with (
        tempfile.TemporaryDirectory(dir=repository.directory, prefix=SCRATCH) as directory,
        console.open_step(f"publish {origin.name} {origin.version}"),
        open_payload(origin.payload, Path(directory)) as payload,
    ):
        release = payload.release
        if (release.name, release.version, release.arch) != (origin.name, origin.version, origin.arch):
            raise SourceError(
                f"{origin.payload} is {release.name} {release.version} for {release.arch}, and build.json says "
                f"{origin.name} {origin.version} for {origin.arch}",
                hint="run 'build-os build' again",
            )
        there = find_release(repository, release.name, release.arch, release.version)
        if there is not None and there._replace(deltas=(), extensions=()) != release:
            raise InputError(
                f"{release.name} {release.version} is published already, and is something else",
                details=[f"published with the root hash {there.roothash}", f"built with        {release.roothash}"],
                hint="machines may run it: give what changed another version",
            )
        new = prepare_extensions(origin.extensions, Path(directory), origin.tools)
        if for_release and there is not None:
            _require_named(there, new)
        place = partial(make_release_path, release.name, release.arch, release.version)
        published = there
        if there is None:
            _require_own_version(repository, release)
            made = _make_deltas(repository, payload, Path(directory), deltas, origin.tools, console)
            there = release._replace(deltas=tuple(made))
            for file in payload.list_files():
                repository.add(place(file.name), payload.directory / file.name)
            for delta in made:
                repository.add(place(delta.name), Path(directory) / delta.name)
        there = merge_extensions(there, new)
        for file in (file for extension in new for file in extension.part.files):
            repository.add(place(file.name), Path(directory) / file.name)
        if there != published:
            repository.add(place(RELEASE_FILE), format_release(there))
            put_catalogue(repository, release.name, release.arch, list_releases(repository, release.name, release.arch))
        put_release(repository, there, channel, offer, now)
    sizes: dict[str, int] = {}
    for delta in there.deltas:
        sizes[delta.source] = sizes.get(delta.source, 0) + delta.size
    for source in sizes:
        replaced = {delta.part for delta in there.deltas if delta.source == source}
        sizes[source] += sum(f.size for name, part in there.parts.items() if name not in replaced for f in part.files)
    return Published(release.version, sum(file.size for file in payload.list_files()), sizes)


def _require_named(there: Release, new: Sequence[ReleaseExtension]) -> None:
    names = {extension.name for extension in new}
    others = [extension.name for extension in there.extensions if extension.name not in names]
    if others:
        raise InputError(
            f"nobody can tell which keys signed the extensions of {there.version} that are published already: "
            f"{', '.join(others)}",
            hint="name each by --extension, with its build",
        )


def list_releases(repository: Repository, name: str, arch: str) -> list[Release]:
    """The versions of an image as they are published, the oldest first."""
    releases = [find_release(repository, name, arch, version) for version in list_versions(repository, name, arch)]
    return [release for release in releases if release is not None]


def put_release(repository: Repository, release: Release, channel: str, offer: Offer, now: int) -> None:
    """Offer a version that is in the repository in a channel.

    Raises:
        InputError: the offer makes no sense, or machines could not read it.
    """
    document = read_channel(repository, release.name, release.arch, channel)
    data = format_channel(add_release(document, release.version, offer, now))
    try:
        parse_channel(data, "what would be published")
    except BadDocument as error:
        raise InputError(str(error)) from error
    repository.add(make_channel_path(release.name, release.arch, channel), data)


def drop_release(repository: Repository, release: Release, channel: str) -> None:
    """Offer a version in a channel no more.

    Raises:
        InputError: it is not offered there.
    """
    document = read_channel(repository, release.name, release.arch, channel)
    if all(there.version != release.version for there in document.releases):
        raise InputError(f"{release.version} is not in the channel {channel}")
    changed = remove_releases(document, {release.version})
    repository.add(make_channel_path(release.name, release.arch, channel), format_channel(changed))


def prune_releases(repository: Repository, name: str, arch: str, keep: int) -> list[str]:
    """Take all but the newest ``keep`` versions of an image out of targets and channels; those that a channel has as a
    barrier or dead end stay, for machines that run them go on as that says.

    The files of those that are gone are there until :meth:`Repository.sweep`.
    """
    channels = list_channels(repository, name, arch)
    kept = {row.version for channel in channels for row in channel.releases if row.barrier or row.dead_end is not None}
    pruned = list_pruned(list_versions(repository, name, arch), keep, kept)
    for channel in channels:
        changed = remove_releases(channel, pruned)
        if changed != channel:
            repository.add(make_channel_path(name, arch, channel.channel), format_channel(changed))
    gone = tuple(make_release_path(name, arch, version, "") for version in pruned)
    for path in [path for path in repository.files if path.startswith(gone)]:
        repository.remove(path)
    put_catalogue(repository, name, arch, list_releases(repository, name, arch))
    return pruned


def list_images(repository: Repository) -> list[tuple[str, str]]:
    """Name and architecture of every image."""
    return sorted({(path.split("/")[0], path.split("/")[1]) for path in repository.files if path.count("/") >= 2})


def list_versions(repository: Repository, name: str, arch: str) -> list[str]:
    """The versions of an image, the oldest first."""
    start = f"{name}/{arch}/"
    versions = {
        path.split("/")[2] for path in repository.files if path.startswith(start) and path.endswith(f"/{RELEASE_FILE}")
    }
    return sorted(versions, key=make_version_key)


def find_release(repository: Repository, name: str, arch: str, version: str) -> Release | None:
    """A version that is published.

    Raises:
        SourceError: it is damaged.
    """
    path = make_release_path(name, arch, version)
    if path not in repository.files:
        return None
    try:
        return parse_release(repository.read(path), path)
    except BadDocument as error:
        raise SourceError(str(error)) from error


def list_channels(repository: Repository, name: str, arch: str) -> list[Channel]:
    """The channels of an image, by name."""
    start = f"{name}/{arch}/{CHANNELS}/"
    names = [path.removeprefix(start).removesuffix(".json") for path in repository.files if path.startswith(start)]
    return [read_channel(repository, name, arch, channel) for channel in sorted(names)]


def read_channel(repository: Repository, name: str, arch: str, channel: str) -> Channel:
    """A channel's document; an empty one if nothing was published in it.

    Raises:
        SourceError: it is damaged.
    """
    path = make_channel_path(name, arch, channel)
    if path not in repository.files:
        return Channel(name, arch, channel)
    try:
        return parse_channel(repository.read(path), path)
    except BadDocument as error:
        raise SourceError(str(error)) from error


def _require_own_version(repository: Repository, release: Release) -> None:
    for version in list_versions(repository, release.name, release.arch):
        if compare_versions(version, release.version) == 0:
            raise InputError(f"{version} is published, and {release.version} is the same version")


def _make_deltas(
    repository: Repository, payload: Payload, scratch: Path, count: int, tools: Tools, console: Console
) -> list[Delta]:
    """Deltas from the newest versions that are older, where they are worth it."""
    release = payload.release
    older = [
        version
        for version in list_versions(repository, release.name, release.arch)
        if compare_versions(version, release.version) < 0
    ]
    made: list[Delta] = []
    new: dict[str, Path] = {}
    for version in older[max(0, len(older) - count) :]:
        base = find_release(repository, release.name, release.arch, version)
        assert base is not None
        with console.open_step(f"delta from {version}"):
            new = new or _unpack_new(payload, scratch, tools)
            made += _make_deltas_from(repository, base, payload, new, scratch, tools)
    return made


def _unpack_new(payload: Payload, scratch: Path, tools: Tools) -> dict[str, Path]:
    """The parts of the new version, for deltas from however many."""
    made = {}
    for name in BLOCKS:
        part, made[name] = payload.release.parts[name], scratch / f"{name}.new"
        _unpack([payload.directory / file.name for file in part.files], made[name], part.sha256, tools)
    return made


def _make_deltas_from(
    repository: Repository, base: Release, payload: Payload, made: Mapping[str, Path], scratch: Path, tools: Tools
) -> Iterator[Delta]:
    for name in BLOCKS:
        new, old = payload.release.parts[name], base.parts[name]
        packed = [repository.locate(make_release_path(base.name, base.arch, base.version, f.name)) for f in old.files]
        unpacked = scratch / "old"
        _unpack(packed, unpacked, old.sha256, tools)
        out = scratch / f"{name}.from-{base.version}.delta"
        make_delta(name, unpacked, made[name], out, tools)
        unpacked.unlink()
        size = out.stat().st_size
        if size <= WORTH * sum(file.size for file in new.files):
            yield Delta(base.version, name, out.name, size, hash_file(out), old.size, old.sha256, METHOD)


def _unpack(packed: Sequence[Path], out: Path, sha256: str, tools: Tools) -> None:
    tools.run("zstd", "--quiet", "--force", "--decompress", *packed, "-o", out)
    if hash_file(out) != sha256:
        raise SourceError(f"{packed[0]} is not what was published", hint="restore the repository from a copy")


def describe_saving(published: Published) -> list[str]:
    """Lines for people: what a machine transfers."""
    lines = [f"{format_size(published.full)} in full"]
    for version, size in published.deltas.items():
        lines.append(f"{format_size(size)} from {version} ({100 * size / published.full:.1f} %)")
    return lines
