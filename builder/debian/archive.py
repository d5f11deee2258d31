"""The archive as one thing: its signed suites fetched, checked, and searchable together."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import pysequoia

from builder.core.console import Console
from builder.core.errors import SourceError
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.debian import release as releases
from builder.debian.fetch import Download, fetch
from builder.debian.index import MAX_UNPACKED, Index, IndexProblem, Package, unpack_index, write_index
from builder.debian.lock import LockedIndex, LockedPackage, LockedRelease, parse_date
from builder.debian.mirror import Mirrors
from builder.debian.pack import unpack
from builder.debian.release import Freshness, IndexFile, Release, read_release
from builder.debian.transfer import Client
from builder.debian.trust import Trust
from builder.debian.version import make_version_key
from builder.tree.node import Kind

# The store's directory for searchable indexes, each named by the hash of what it was made from.
SECTION = "indexes"
# How often an index is asked for again that its Release file names and the mirror does not have.
ATTEMPTS = 3
KEYRING_PACKAGE = "debian-archive-keyring"
KEYRING_ROOM = "/usr/share/keyrings/"


class _IndexGone(SourceError):
    """The mirror does not have the list of packages that its own Release file names."""


@dataclass(frozen=True)
class PackageArchive:
    """The suites that were asked for, in that order, for one architecture.

    Attributes:
        sources: the files that the indexes were made from, in their order.
    """

    releases: tuple[Release, ...]
    indexes: tuple[Index, ...]
    arch: str
    sources: tuple[LockedIndex, ...] = ()

    def get(self, name: str) -> list[Package]:
        """All versions of a package, newest first, each once (from the first suite that has it)."""
        by_version: dict[tuple[str, str], Package] = {}
        for index in self.indexes:
            for package in index.get(name):
                if package.architecture in (self.arch, "all"):
                    by_version.setdefault((package.version, package.architecture), package)
        return sorted(by_version.values(), key=lambda p: (make_version_key(p.version), p.architecture), reverse=True)

    def list_providers(self, name: str) -> list[str]:
        """The names of packages that provide a name, sorted."""
        return sorted({provider for index in self.indexes for provider in index.list_providers(name)})

    def list_essential(self) -> list[str]:
        """The names of the packages that every Debian system has (``Essential: yes``), sorted."""
        return sorted({name for index in self.indexes for name in index.list_essential()})

    @cached_property
    def names(self) -> frozenset[str]:
        """All names of packages, virtual ones included."""
        return frozenset().union(*(index.list_names() for index in self.indexes))

    def list_similar(self, name: str) -> list[str]:
        """Up to three names that resemble one that does not exist."""
        return difflib.get_close_matches(name, sorted(self.names), n=3, cutoff=0.75)

    def list_locked_releases(self) -> tuple[LockedRelease, ...]:
        """The suites as a lock records them."""
        return tuple(LockedRelease(r.suite, r.date_text, r.sha256) for r in self.releases)


def lock_package(package: Package) -> LockedPackage:
    """The package as a lock records it."""
    return LockedPackage(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        sha256=package.sha256,
        size=package.size,
        path=package.path,
        source=package.source,
        suite=package.suite,
        component=package.component,
    )


def list_index_urls(release: Release, path: str, entry: IndexFile, mirrors: Mirrors) -> tuple[str, ...]:
    """Where a file below ``dists/SUITE`` can be had: by its hash first, which a mirror keeps while it is updated."""
    base = f"dists/{release.suite}/"
    names = [base + path]
    if release.by_hash:
        names.insert(0, f"{base}{path.rpartition('/')[0]}/by-hash/SHA256/{entry.sha256}")
    return tuple(url for name in names for url in mirrors.list_urls(release.suite, name))


def open_archive(
    mirrors: Mirrors,
    suites: Sequence[str],
    arch: str,
    store: Store,
    console: Console,
    freshness: Freshness,
    *,
    newest: Sequence[LockedRelease] = (),
    components: Sequence[str] = ("main",),
    trust: Trust | None = None,
    client: Client | None = None,
) -> PackageArchive:
    """Fetch and verify the suites' signed indexes and make them searchable.

    ``newest`` are the releases of an existing lock: a suite that is older than there is refused.

    Raises:
        SourceError: an index cannot be had, is not authentic, not current, or not for this architecture.
        CapabilityError: the store cannot be written.
    """
    used = client or Client()
    reader = _Reader(mirrors, arch, store, console, freshness, tuple(components), trust or Trust(), used)
    try:
        return reader.read_archive(suites, {release.suite: release for release in newest})
    finally:
        if client is None:
            used.close()


def open_locked_archive(
    locked: Sequence[LockedRelease],
    sources: Sequence[LockedIndex],
    mirrors: Mirrors,
    arch: str,
    store: Store,
    console: Console,
    freshness: Freshness,
    *,
    trust: Trust | None = None,
    client: Client | None = None,
) -> PackageArchive:
    """The archive as a lock saw it, as far as it can still be had: from the store's downloads, a snapshot, a mirror.

    A suite whose signed index cannot be had any more is left out. Those that are there are signed, however old.

    Raises:
        SourceError: one is not signed by who may, or does not vouch for the lists that the lock names.
        CapabilityError: the store cannot be written.
    """
    used = client or Client()
    anytime = Freshness(freshness.now, check_valid_until=False)
    reader = _Reader(mirrors, arch, store, console, anytime, (), trust or Trust(), used)
    try:
        return reader.read_locked_archive(locked, [source for source in sources if source.architecture == arch])
    finally:
        if client is None:
            used.close()


@dataclass(frozen=True)
class _Reader:
    mirrors: Mirrors
    arch: str
    store: Store
    console: Console
    freshness: Freshness
    components: tuple[str, ...]
    trust: Trust
    client: Client

    def read_archive(self, suites: Sequence[str], seen: dict[str, LockedRelease]) -> PackageArchive:
        certificates = self._certificates(suites[0])
        releases: list[Release] = []
        indexes: list[tuple[LockedIndex, Index]] = []
        for suite in suites:
            release, parts = self._suite(suite, certificates, seen.get(suite))
            releases.append(release)
            indexes.extend(parts)
        return PackageArchive(
            tuple(releases), tuple(index for _, index in indexes), self.arch, tuple(source for source, _ in indexes)
        )

    def read_locked_archive(self, locked: Sequence[LockedRelease], sources: Sequence[LockedIndex]) -> PackageArchive:
        releases: list[Release] = []
        indexes: list[Index] = []
        for seen in locked:
            data = self._locked_in_release(seen)
            if data is None:
                continue
            release = read_release(data, seen.suite, self.trust, self._certificates(seen.suite), self.freshness)
            releases.append(release)
            for source in sources:
                if source.suite != seen.suite:
                    continue
                if release.files.get(source.path) != IndexFile(source.sha256, source.size):
                    raise SourceError(
                        f"the signed index of {seen.suite} does not vouch for the lock's list {source.path}",
                        details=[f"locked sha256 {source.sha256}, {source.size} bytes"],
                        hint="the lock was changed by hand, or its maker was deceived",
                    )
                indexes.append(self._index(release, source.component)[1])
        return PackageArchive(tuple(releases), tuple(indexes), self.arch, tuple(sources))

    def _locked_in_release(self, seen: LockedRelease) -> bytes | None:
        """A signed index by its hash, or ``None`` where nobody has it any more."""
        with suppress(OSError):
            data = self.store.locate_blob(seen.sha256).read_bytes()
            if hashlib.sha256(data).hexdigest() == seen.sha256:
                return data
        path = f"dists/{seen.suite}/InRelease"
        for url in self.mirrors.list_urls(seen.suite, path):
            with suppress(SourceError):
                data = self.client.read((url,), f"the index of {seen.suite}", maximum=releases.MAX_BYTES, hint="")
                if hashlib.sha256(data).hexdigest() == seen.sha256:
                    return data
        return None

    def _certificates(self, suite: str) -> list[pysequoia.Cert]:
        return self.trust.read_certificates() or self._keys_from_mirror(suite)

    def _suite(
        self, suite: str, certificates: list[pysequoia.Cert], seen: LockedRelease | None
    ) -> tuple[Release, list[tuple[LockedIndex, Index]]]:
        freshness = self.freshness
        if seen is not None:
            freshness = Freshness(freshness.now, freshness.check_valid_until, parse_date(seen.date))
        before = ""
        for attempt in range(ATTEMPTS):
            data = self._in_release(suite)
            release = read_release(data, suite, self.trust, certificates, freshness)
            with explain_store_errors(self.store):
                self.store.add_bytes(data)  # what a lock is compared with, once mirrors have a newer one
            try:
                return release, [self._index(release, component) for component in self.components]
            except _IndexGone:
                # A mirror that is being updated may show an old InRelease beside new indexes.
                if release.sha256 == before or attempt == ATTEMPTS - 1:
                    raise
                before = release.sha256
                self.console.log(f"the index of {suite} may have changed while it was read; once more")
        raise AssertionError("unreachable")

    def _in_release(self, suite: str) -> bytes:
        return self.client.read(
            self.mirrors.list_urls(suite, f"dists/{suite}/InRelease"),
            f"the index of {suite}",
            maximum=releases.MAX_BYTES,
            hint=f"does the mirror from {self.mirrors.origin} carry {suite}?",
        )

    def _index(self, release: Release, component: str) -> tuple[LockedIndex, Index]:
        plain = f"{component}/binary-{self.arch}/Packages"
        chosen = next((plain + end for end in (".xz", ".gz", "") if plain + end in release.files), None)
        if chosen is None:
            raise SourceError(
                f"{release.suite} has no {component} for {self.arch}",
                hint=f"it has {' '.join(release.components)} for {' '.join(release.architectures)}",
            )
        entry = release.files[chosen]
        source = LockedIndex(release.suite, component, self.arch, chosen, entry.sha256, entry.size)
        target = self.store.root / SECTION / entry.sha256
        try:
            return source, Index(target, release.suite, component)
        except (OSError, ValueError):
            pass
        limit = min(release.files[plain].size if plain in release.files else MAX_UNPACKED, MAX_UNPACKED)
        data = self._fetch_index(release, chosen, entry)
        text = unpack_index(data, chosen, limit)
        with explain_store_errors(self.store):
            write_index(text, target)
            return source, Index(target, release.suite, component)

    def _fetch_index(self, release: Release, path: str, entry: IndexFile) -> bytes:
        if entry.size > MAX_UNPACKED:
            raise IndexProblem(f"the index of {release.suite} is said to have {entry.size} bytes")
        urls = list_index_urls(release, path, entry, self.mirrors)
        what = f"the list of packages of {release.suite}"
        wanted = Download(entry.sha256, entry.size, what, urls, "the mirror is being updated; try again later")
        try:
            fetch([wanted], self.store, self.console, client=self.client)
        except SourceError as error:
            raise _IndexGone(error.what, details=error.details, hint=error.hint) from error
        with explain_store_errors(self.store):
            data = self.store.locate_blob(entry.sha256).read_bytes()
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                self.store.locate_blob(entry.sha256).unlink(missing_ok=True)
                raise _IndexGone(f"{what} in the store was damaged; it has been removed", hint="try again")
            return data

    def _keys_from_mirror(self, suite: str) -> list[pysequoia.Cert]:
        """The pinned keys out of the mirror's own keyring package.

        Nothing on this path is trusted, and nothing but keys whose fingerprint is pinned comes out of it.
        """
        self.console.log("this machine has no keyring of Debian's; taking the keys from the mirror, by fingerprint")
        content = releases.read_unverified_content(self._in_release(suite))
        _, index = self._index(releases.parse_release(content, suite), "main")
        candidates = index.get(KEYRING_PACKAGE)
        if not candidates:
            raise SourceError(f"{suite} has no {KEYRING_PACKAGE}", hint="install Debian's keyring on this machine")
        package = max(candidates, key=lambda p: make_version_key(p.version))
        urls = self.mirrors.list_urls(suite, package.path)
        fetch(
            [Download(package.sha256, package.size, KEYRING_PACKAGE, urls)],
            self.store,
            self.console,
            client=self.client,
        )
        pack = unpack(self.store, lock_package(package))
        keyrings = [m.path for m in pack.members if m.kind is Kind.FILE and m.path.startswith(KEYRING_ROOM)]
        certificates = {c.fingerprint: c for path in keyrings for c in self.trust.parse_pinned_keys(pack.read(path))}
        if not certificates:
            raise SourceError(
                f"the mirror's {KEYRING_PACKAGE} has none of the keys that build-os trusts",
                hint="a newer build-os may know newer keys; otherwise do not use this mirror",
            )
        return list(certificates.values())
