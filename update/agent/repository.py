"""A repository of versions: what it offers, by The Update Framework (TUF 1.0), and the files of one version.

Root of trust is the image's own ``root.json``. python-tuf refuses what is older than what was seen before (rollback),
has expired (freeze), does not belong together (mix and match), or is not signed by enough of the right keys.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater

from update.agent.fetcher import Fetcher
from update.agent.host import Host
from update.agent.identity import Identity
from update.agent.payload import locate_whole
from update.agent.settings import ROOT
from update.agent.space import require_space
from update.agent.state import write_file
from update.delta import METHOD, apply_delta
from update.documents import (
    RELEASE_FILE,
    Channel,
    Release,
    ReleaseExtension,
    ReleasePart,
    TransferFile,
    make_channel_path,
    make_release_path,
    parse_channel,
    parse_release,
)
from update.errors import UpdateError
from update.values import MAX_DOCUMENT

METADATA = "/var/lib/update/metadata"
SHIPPED = "image-root.json"  # in there: the image's root.json, as it was when this was looked at last
DOWNLOADS = "/var/lib/update/downloads"


class Repository:
    """What is published at a URL, for the image that runs.

    Args:
        host: the machine.
        url: of the directory with ``metadata`` and ``targets``.
        identity: what runs.
        fetcher: the way there.

    Raises:
        UpdateError: the image's root of trust cannot be read, or the repository does not prove what it says.
    """

    def __init__(self, host: Host, url: str, identity: Identity, fetcher: Fetcher) -> None:
        self._host, self._identity, self._fetcher = host, identity, fetcher
        self._url = url.rstrip("/")
        directory = host.locate(METADATA)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        install_root(host)
        try:
            self._updater = Updater(str(directory), f"{self._url}/metadata/", fetcher=fetcher)
            self._updater.refresh()
        except ExpiredMetadataError as error:
            clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(host.now()))
            raise UpdateError(
                f"{self._url}: {error}; nobody has signed it anew, or this machine's clock ({clock}) is wrong"
            ) from None
        except RepositoryError as error:
            raise UpdateError(f"{self._url}: what it says is not proven: {error}") from None
        except (DownloadError, OSError) as error:
            raise UpdateError(f"{self._url}: {error}") from None

    def read_channel(self, channel: str) -> Channel:
        """The versions of a channel.

        Raises:
            UpdateError: there is no such channel, or it is another image's.
        """
        identity = self._identity
        path = make_channel_path(identity.name, identity.arch, channel)
        document = parse_channel(self._read_document(path, f"the channel {channel}"), path)
        if (document.name, document.arch, document.channel) != (identity.name, identity.arch, channel):
            raise UpdateError(f"{path} describes {document.name} for {document.arch}, channel {document.channel}")
        return document

    def open_release(self, version: str) -> tuple[Release, Path]:
        """What a version consists of, and the directory for its files, which has its ``release.json``.

        Raises:
            UpdateError: there is no such version, or it is not what was signed.
        """
        identity = self._identity
        path = make_release_path(identity.name, identity.arch, version)
        data = self._read_document(path, f"version {version}")
        release = parse_release(data, path)
        if release.version != version:
            raise UpdateError(f"{path} describes version {release.version}")
        directory = self._host.locate(DOWNLOADS) / version
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        clear_downloads(self._host, version)
        write_file(directory / RELEASE_FILE, data)
        return release, directory

    def download(
        self,
        release: Release,
        directory: Path,
        old: Mapping[str, Path],
        say: Callable[[str], None],
        extensions: Sequence[ReleaseExtension] = (),
    ) -> None:
        """All that a version consists of, each of it proven: parts by delta where there is one that fits, else in full.

        Args:
            old: the parts of the version that runs.
            say: told of deltas that do not fit.
            extensions: those that the machine has, of this version.

        Raises:
            UpdateError: something cannot be had, or is not what was signed; or there is no room.
        """
        deltas = {delta.part: delta for delta in release.deltas if delta.source == self._identity.version}
        for name, part in release.parts.items():
            delta, whole = deltas.get(name), directory / locate_whole(name)
            whole.unlink(missing_ok=True)  # of one that was cut short
            if delta is not None and name in old and delta.method == METHOD:
                try:
                    require_space(directory, delta.size + part.size, DOWNLOADS)
                    file = TransferFile(delta.name, delta.size, delta.sha256)
                    self._download_file(release, file, directory)
                    with whole.open("wb") as out:
                        apply_delta(old[name], directory / delta.name, out, size=part.size, sha256=part.sha256)
                    continue
                except (UpdateError, OSError) as error:
                    whole.unlink(missing_ok=True)
                    say(f"{name} is downloaded in full, because its delta cannot be used: {error}")
            self._download_part(release, part, directory)
        self.download_extensions(release, directory, extensions)

    def download_extensions(self, release: Release, directory: Path, extensions: Sequence[ReleaseExtension]) -> None:
        """The files of extensions of a version.

        Raises:
            UpdateError: as :meth:`download`.
        """
        for extension in extensions:
            self._download_part(release, extension.part, directory)

    def _download_part(self, release: Release, part: ReleasePart, directory: Path) -> None:
        require_space(directory, sum(file.size for file in part.files), DOWNLOADS)
        for file in part.files:
            self._download_file(release, file, directory)

    def _download_file(self, release: Release, file: TransferFile, directory: Path) -> None:
        path = make_release_path(release.name, release.arch, release.version, file.name)
        target = self._require_target(path, file.name)
        if (target.length, target.hashes.get("sha256")) != (file.size, file.sha256):
            raise UpdateError(f"{RELEASE_FILE} and the repository's metadata say different things of {file.name}")
        self._download(target, directory / file.name)

    def _require_target(self, path: str, what: str) -> TargetFile:
        try:
            target = self._updater.get_targetinfo(path)
        except (RepositoryError, DownloadError, OSError) as error:
            raise UpdateError(f"{self._url}: {error}") from None
        if target is None:
            raise UpdateError(f"{self._url} has no {what} for {self._identity.name} on {self._identity.arch}")
        if "sha256" not in target.hashes:
            raise UpdateError(f"{self._url}: {path} has no SHA-256")
        return target

    def _read_document(self, path: str, what: str) -> bytes:
        target = self._require_target(path, what)
        if target.length > MAX_DOCUMENT:
            raise UpdateError(f"{path} has {target.length} bytes, and {MAX_DOCUMENT} are read at most")
        file = self._host.locate(DOWNLOADS) / "document"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        self._download(target, file)
        data = file.read_bytes()
        file.unlink()
        return data

    def _download(self, target: TargetFile, file: Path) -> None:
        """A target whose bytes are what was signed; a rest of an earlier download is gone on with."""
        if file.exists() and file.stat().st_size > target.length:
            file.unlink()
        wanted = target.hashes["sha256"]
        for last in (False, True):
            self._fetcher.download(self._locate(target), file, target.length)
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest == wanted:
                return
            # What was there before may be what is wrong: once more, from the beginning.
            file.unlink()
            if last:
                raise UpdateError(f"{self._locate(target)}: its hash is {digest}, and {wanted} was signed")

    def _locate(self, target: TargetFile) -> str:
        """Its URL, with the hash in its name (TUF 1.0, 6.2: consistent snapshots)."""
        directory, slash, name = target.path.rpartition("/")
        path = f"{directory}{slash}{target.hashes['sha256']}.{name}"
        return f"{self._url}/targets/{quote(path)}"


def install_root(host: Host) -> None:
    """Begin with the image's root of trust, or with a newer one that it has led to.

    A new image may have one of other keys, because the old ones were lost or stolen: what those have signed, and
    whatever number it has, is then forgotten.

    Raises:
        UpdateError: the image has none.
    """
    known = host.locate(METADATA) / "root.json"
    noted = host.locate(METADATA) / SHIPPED
    try:
        shipped = host.locate(ROOT).read_bytes()
    except OSError as error:
        raise UpdateError(
            f"{ROOT} cannot be read: {error.strerror}; the definition's updates.root puts it there"
        ) from None
    is_new = not noted.exists() or noted.read_bytes() != shipped
    if not known.exists() or (is_new and not _leads_to(shipped, known.read_bytes())):
        write_file(known, shipped)
    if is_new:
        write_file(noted, shipped)


def _leads_to(shipped: bytes, known: bytes) -> bool:
    """Whether one root.json is the other, or comes after it: they have a key in common, or one has signed the other."""
    try:
        first, last = Metadata[Root].from_bytes(shipped), Metadata[Root].from_bytes(known)
        if last.signed.version < first.signed.version:
            return False
        if {*first.signed.roles[Root.type].keyids} & {*last.signed.roles[Root.type].keyids}:
            return True
        first.signed.verify_delegate(Root.type, last.signed_bytes, last.signatures)
    except (RepositoryError, ValueError, KeyError):
        return False
    return True


def clear_downloads(host: Host, keep: str = "") -> None:
    """Remove what was downloaded, but for one version."""
    for path in host.locate(DOWNLOADS).iterdir():
        if path.name != keep:
            shutil.rmtree(path, ignore_errors=True)
