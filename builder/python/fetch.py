"""Wheels into the store, from the definition's own directories or the index that pip's configuration names."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from builder.core.console import Console
from builder.core.errors import InputError, SourceError
from builder.core.files import hash_file
from builder.core.store import Store
from builder.core.store_errors import explain_store_errors
from builder.debian.fetch import Download, fetch
from builder.debian.lock import LockedWheel
from builder.debian.transfer import Client
from builder.definition.environments import ResolvedEnvironment
from builder.python.choose import Chosen, choose_wheels
from builder.python.pip_config import PipConfig, read_pip_config
from builder.python.target import Target
from builder.python.uv import Uv, Yanked

MAX_WHEEL = 8 << 30
GONE = (
    "the index has this file no more: 'build-os lock --update NAME' takes a current one; "
    "'build-os store import' brings it from a machine that has it"
)


class IndexClient(Client):
    """Downloads with pip's certificates and proxy."""

    def __init__(self, config: PipConfig) -> None:
        super().__init__()
        self._config = config

    def _session(self) -> requests.Session:
        session = super()._session()
        if self._config.certificates:
            session.verify = self._config.certificates
        if self._config.proxy:
            session.proxies = {"http": self._config.proxy, "https": self._config.proxy}
        for host in self._config.trusted_hosts:
            session.mount(f"https://{host}", _Trusting())
        return session


class _Trusting(HTTPAdapter):
    """What pip's ``trusted-host`` asks for: no look at certificates. Every file is known by its hash."""

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002 - as it is declared
        super().cert_verify(conn, url, False, cert)  # type: ignore[no-untyped-call]


def open_uv(target: Target, store: Store, console: Console) -> Uv:
    """uv, for a target, with pip's configuration."""
    return Uv(target, read_pip_config(os.environ), store.root / "indexes" / "uv", console)


def locate_wheels(
    wanted: Sequence[Chosen], environment: ResolvedEnvironment, uv: Uv
) -> tuple[list[Chosen], list[Yanked]]:
    """The same wheels with the places and sizes that the index has for them today; which of them are yanked.

    Raises:
        SourceError: the index has other files, or does not answer.
        ResolveError: it does not have one of the versions.
    """
    if not wanted:
        return [], []
    pins = "".join(f"{wheel.name}=={wheel.version}\n" for wheel in wanted)
    with tempfile.TemporaryDirectory(prefix="build-os-python-") as directory:
        text, yanked = uv.compile(
            pins, "", environment.find_links, Path(directory), with_dependencies=False, any_platform=True
        )
    hashes = {wheel.name: (f"sha256:{wheel.sha256}",) for wheel in wanted}
    by_name = {wheel.name: wheel for wheel in choose_wheels(text, uv.target, hashes=hashes)}
    missing = [wheel.file for wheel in wanted if wheel.name not in by_name]
    if missing:
        raise SourceError("the index does not have what the lock names", details=missing, hint=GONE)
    return [by_name[wheel.name] for wheel in wanted], yanked


def fetch_chosen(chosen: Sequence[Chosen], store: Store, console: Console) -> dict[str, int]:
    """Wheels whose place is known, into the store; their sizes by hash.

    Raises:
        SourceError: one cannot be had, or is not what its hash says.
        CapabilityError: the store cannot be written.
    """
    config = read_pip_config(os.environ)
    client = IndexClient(config)
    sized = []
    for wheel in chosen:
        if store.has_blob(wheel.sha256, wheel.size or None):
            continue
        if path := _find_local(wheel.url):
            _take_local(path, wheel, store)
        elif wheel.size:
            url = add_credentials(wheel.url, config.indexes)
            sized.append(Download(wheel.sha256, wheel.size, f"{wheel.name} {wheel.version}", (url,), GONE))
        else:
            _fetch_unsized(wheel, add_credentials(wheel.url, config.indexes), store, client)
    fetch(sized, store, console, client=client)
    return {wheel.sha256: store.locate_blob(wheel.sha256).stat().st_size for wheel in chosen}


def _find_local(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(url)


def _take_local(path: Path, wheel: Chosen, store: Store) -> None:
    with explain_store_errors(store), store.add_blob(wheel.sha256, wheel.file) as out:
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, out)
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _fetch_unsized(wheel: Chosen, url: str, store: Store, client: Client) -> None:
    """From an index that does not say how large its files are."""

    def attempt(place: str) -> None:
        with store.add_blob(wheel.sha256, wheel.file) as out, client.get(place, maximum=MAX_WHEEL) as answer:
            for piece in answer.pieces:
                out.write(piece)

    with explain_store_errors(store):
        client.try_each([url], f"{wheel.name} {wheel.version}", attempt, GONE)


def add_credentials(url: str, indexes: Iterable[str]) -> str:
    """A file's URL with the name and password of the index on the same host, if that has some."""
    parts = urlsplit(url)
    for index in indexes:
        own = urlsplit(index)
        account, at, host = own.netloc.rpartition("@")
        if at and host == parts.netloc and own.scheme == parts.scheme:
            return urlunsplit(parts._replace(netloc=f"{account}@{host}"))
    return url


def fetch_wheels(
    wheels: Collection[LockedWheel],
    environments: Mapping[tuple[str, str], tuple[ResolvedEnvironment, Target]],
    store: Store,
    console: Console,
    *,
    offline: bool = False,
) -> None:
    """Get these wheels of a lock into the store.

    Args:
        environments: group and name -> the environment, and what it is for.

    Raises:
        SourceError: one cannot be had, is not what the lock says, or is missing while ``offline``.
        CapabilityError: the store cannot be written.
    """
    missing = [wheel for wheel in wheels if not store.has_blob(wheel.sha256, wheel.size)]
    for wheel in list(missing):
        environment, _ = environments[wheel.group, wheel.environment]
        own = next((place / wheel.file for place in environment.find_links if (place / wheel.file).is_file()), None)
        if own is not None and hash_file(own) == wheel.sha256:
            _take_local(own, _choose(wheel, str(own)), store)
            missing.remove(wheel)
    if not missing:
        return
    if offline:
        raise SourceError(
            f"{len(missing)} wheel{'s are' if len(missing) > 1 else ' is'} not in the store, and downloading is off",
            details=sorted({wheel.file for wheel in missing})[:40],
            hint="run once without --offline",
        )
    located = []
    for key in sorted({(wheel.group, wheel.environment) for wheel in missing}):
        environment, target = environments[key]
        wanted = [_choose(wheel, "") for wheel in missing if (wheel.group, wheel.environment) == key]
        try:
            located += locate_wheels(wanted, environment, open_uv(target, store, console))[0]
        except InputError as error:
            raise SourceError(
                f"the index does not have every wheel of environment '{environment.name}' as the lock names it",
                details=error.what.splitlines()[:12],
                hint=GONE,
            ) from error
    fetch_chosen(located, store, console)


def _choose(wheel: LockedWheel, url: str) -> Chosen:
    return Chosen(wheel.name, wheel.version, wheel.file, wheel.sha256, wheel.size, url)
