"""A small archive of our own behind a server on loopback; see tests/support for how it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pysequoia
import pytest

from builder.core.console import QuietConsole
from builder.core.http import Patience
from builder.core.store import Store
from builder.debian.archive import PackageArchive
from builder.debian.index import Index, write_index
from builder.debian.lock import LockedPackage
from builder.debian.mirror import Mirrors
from builder.debian.release import Freshness
from builder.debian.transfer import Client
from tests.support.debs import (
    Deb,
    ar,
    make_deb,
    stanza_text,
    tar,
    tar_directory,
    tar_entry,
    tar_header,
    tar_link,
)
from tests.support.mirror import NOW, FileServer, SignedArchive, serving


class Recorder(QuietConsole):
    """A console that remembers what the user would have been told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")

    def log(self, line: str) -> None:
        self.said.append(f"log: {line}")

    def report_progress(self, done: int, total: int, unit: str) -> None:
        self.steps.append((done, total))


@pytest.fixture
def console() -> Recorder:
    return Recorder()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


# --- an archive from stanzas alone, for the resolver ----------------------------------------------


@pytest.fixture
def archive_of(tmp_path: Path) -> Callable[..., PackageArchive]:
    """``archive_of({"Package": "a", "Depends": "b"}, ...)``; what a stanza leaves out is filled in."""
    count = 0

    def make(*stanzas: dict[str, str], more: list[list[dict[str, str]]] | None = None) -> PackageArchive:
        nonlocal count
        indexes = []
        for number, group in enumerate([list(stanzas), *(more or [])]):
            count += 1
            path = tmp_path / f"index-{count}"
            write_index("".join(stanza_text(complete(s)) for s in group).encode(), path)
            indexes.append(Index(path, f"suite{number}"))
        return PackageArchive((), tuple(indexes), "amd64")

    return make


def complete(stanza: dict[str, str]) -> dict[str, str]:
    name, version = stanza["Package"], stanza.get("Version", "1.0-1")
    digest = hashlib.sha256(repr(sorted(stanza.items())).encode()).hexdigest()
    return {
        "Version": version,
        "Architecture": "amd64",
        "Filename": f"pool/main/{name}_{version}.deb",
        "Size": "1000",
        "SHA256": digest,
        **stanza,
    }


# --- a signed archive behind a server -------------------------------------------------------------


@pytest.fixture(scope="session")
def key() -> pysequoia.Tsk:
    """The key that signs the test archive; made anew for each run, because making one takes a millisecond."""
    return pysequoia.Tsk.generate("An archive <archive@example.org>")


@pytest.fixture
def signed(key: pysequoia.Tsk, tmp_path: Path) -> SignedArchive:
    return SignedArchive(key, tmp_path / "keyring.pgp")


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, bytes]], FileServer]]:
    """Starts a server for some files; all are stopped at the end of the test."""
    with ExitStack() as stack:
        yield lambda files: stack.enter_context(serving(files))


@pytest.fixture
def server(serve: Callable[[dict[str, bytes]], FileServer], signed: SignedArchive) -> FileServer:
    """A mirror of the signed archive."""
    return serve(signed.files)


@pytest.fixture
def mirrors(server: FileServer) -> Mirrors:
    return Mirrors((server.url,), (server.url,), "the test")


@pytest.fixture
def hasty() -> Iterator[Client]:
    """A client that tries twice without a pause."""
    client = Client(Patience(rounds=2, pause=0.01))
    yield client
    client.close()


@pytest.fixture
def fresh() -> Freshness:
    return Freshness(NOW + timedelta(hours=1))


@pytest.fixture
def debs() -> Callable[..., Deb]:
    return make_deb


@pytest.fixture
def tars() -> object:
    """The tar and ar writers, as attributes."""

    class Writers:
        header = staticmethod(tar_header)
        entry = staticmethod(tar_entry)
        directory = staticmethod(tar_directory)
        link = staticmethod(tar_link)
        tar = staticmethod(tar)
        ar = staticmethod(ar)

    return Writers


@pytest.fixture
def put(store: Store) -> Callable[[Deb], LockedPackage]:
    """Puts a deb into the store as a download would."""

    def add(deb: Deb) -> LockedPackage:
        store.add_bytes(deb.data)
        return deb.locked

    return add
