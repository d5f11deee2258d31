"""What a first boot left behind: the config that was carried out, and how everything looked that it wrote.

One file that only root can read. It holds what the config says, password hashes among it, and nothing that is not on
the machine anyway; what is said about disks, with the keys to them, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from time import gmtime, strftime
from typing import Any

from firstboot.apply.accounts import Names
from firstboot.apply.action import Machine
from firstboot.apply.keys import choose_config_keys_file
from firstboot.apply.root import Root
from firstboot.apply.units import PRESET
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.digests import sha256
from firstboot.config.dump import dump
from firstboot.config.loaded import LoadedConfig
from firstboot.config.machine_words import ETC_UPPER
from firstboot.config.model import Model
from firstboot.config.models import BLOCK_DEVICES, Config, File
from firstboot.config.named_tuple import NamedTuple
from firstboot.places import APPLIED

SCHEMA = 1
# Larger files are told apart by size and time: hashing gigabytes would hold up a boot.
HASHED_BYTES = 16 << 20
# A file that the config only adds to is kept as it was, up to this size, so that its changes can be shown.
KEPT_BYTES = 64 << 10
NOT_AGAIN = (*BLOCK_DEVICES, "archives")


class RecordedPath(NamedTuple):
    """How something looked.

    Attributes:
        kind: ``file``, ``directory``, ``link``, ``other``.
        digest: SHA-256 of a file; size and time of one that is too large.
        target: of a link.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    digest: str = ""
    target: str = ""


class Record(NamedTuple):
    """What was applied.

    Attributes:
        config: as Ignition JSON of the newest version, without disks.
        entries: by path.
        sources: a hash of what the config says the contents of a file are, by path.
        archives: hashes of what the config says of those that were unpacked.
        texts: files as they were that the config only added to, by path.
        others: what else was in this machine's own ``/etc`` when the first boot was done, by path.
        accounts: the names of users and groups that there were.
    """

    time: str
    image: Mapping[str, str]
    config: Mapping[str, Any]
    entries: Mapping[str, RecordedPath]
    sources: Mapping[str, str]
    texts: Mapping[str, str]
    archives: Sequence[str] = ()
    others: Mapping[str, RecordedPath] = {}
    accounts: Sequence[str] = ()


def make_record(config: Config, root: Root, names: Names, *, time: str, image: Mapping[str, str]) -> Record:
    """Look at everything that a config has just made."""
    entries = {}
    for path in list_governed(config, root, names):
        entry = look(root, path)
        if entry is not None:
            entries[path] = entry
    texts = {}
    for file in config.storage.files:
        if file.append and file.contents.source is None and is_public(entries.get(file.path)):
            text = root.read(file.path, follow=False)
            if len(text) <= KEPT_BYTES:
                texts[file.path] = text.decode("utf-8", "replace")
    sources = {file.path: hash_source(file) for file in config.storage.files}
    archives = [hash_part(archive) for archive in config.storage.archives]
    others = {}
    for upper, path in split_upper(root):
        there = look(root, upper) if path not in entries else None
        if there is not None:
            others[path] = there
    accounts = sorted({*names.users, *names.groups})
    return Record(time, image, _again(config), entries, sources, texts, archives, others, accounts)


def split_upper(root: Root) -> Iterator[tuple[str, str]]:
    """What is this machine's own in ``/etc``, directories left out: where each lies, and its path there."""
    for upper in root.list_below(ETC_UPPER):
        if not root.see(upper).is_directory:
            yield upper, f"/etc{upper.removeprefix(ETC_UPPER)}"


def _again(config: Config) -> dict[str, Any]:
    """What can be done again: without disks, kernel arguments, or the configs that this one was merged from."""
    data = dump(config)
    for name in NOT_AGAIN:
        data.get("storage", {}).pop(name, None)
    data.get("ignition", {}).pop("config", None)
    data.pop("kernelArguments", None)
    return data


def remember(loaded: LoadedConfig, machine: Machine, image: Mapping[str, str]) -> None:
    """Write down what was applied, as it looks now.

    Raises:
        OSError
    """
    now = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    machine.names.forget()
    record = make_record(loaded.config, machine.root, machine.names, time=now, image=image)
    with suppress(ValueError):
        before = read_record(machine.root)
        if before is not None:
            # What was made beside the config since the first boot goes on being told.
            record = record._replace(others=before.others, accounts=before.accounts)
    write_record(machine.root, record)


def list_governed(config: Config, root: Root, names: Names) -> Iterator[str]:
    """The paths that a config decides about, each once."""
    seen: dict[str, None] = {}
    storage = config.storage
    for node in (*storage.directories, *storage.files, *storage.links):
        seen.setdefault(node.path)
    for unit in config.systemd.units:
        path = f"{UNIT_DIRECTORY}/{unit.name}"
        if unit.contents or unit.mask:
            seen.setdefault(path)
        for dropin in unit.dropins:
            if dropin.contents is not None:
                seen.setdefault(f"{path}.d/{dropin.name}")
    if any(unit.enabled is not None for unit in config.systemd.units):
        seen.setdefault(PRESET)
    for user in config.passwd.users:
        keys = find_keys_path(user.name, root, names) if user.ssh_authorized_keys else None
        if keys is not None:
            seen.setdefault(keys)
    yield from seen


def find_keys_path(user: str, root: Root, names: Names) -> str | None:
    """Where the keys of a user are; ``None`` if there is no such user."""
    account = names.users.get(user)
    return None if account is None else f"{root.resolve(account.home).rstrip('/')}/{choose_config_keys_file()}"


def look(root: Root, path: str) -> RecordedPath | None:
    """What is at a path now; ``None`` if nothing is."""
    try:
        seen = root.see(path)
    except OSError:
        return None
    there = seen.stat
    if there is None:
        return None
    mode = there.st_mode & 0o7777
    if seen.target is not None:
        return RecordedPath("link", 0, there.st_uid, there.st_gid, "", seen.target)
    if seen.is_directory:
        return RecordedPath("directory", mode, there.st_uid, there.st_gid)
    if not seen.is_file:
        return RecordedPath("other", mode, there.st_uid, there.st_gid)
    if there.st_size > HASHED_BYTES:
        return RecordedPath("file", mode, there.st_uid, there.st_gid, f"{there.st_size} bytes of {there.st_mtime_ns}")
    digest = sha256(root.read(path, follow=False)).hexdigest()
    return RecordedPath("file", mode, there.st_uid, there.st_gid, digest)


def is_public(entry: RecordedPath | None) -> bool:
    """Whether everybody on the machine may read it, so that it may be shown."""
    return entry is not None and entry.kind == "file" and bool(entry.mode & 0o004)


def hash_part(part: Model) -> str:
    """A hash of what a config says of something."""
    return sha256(json.dumps(dump(part), sort_keys=True).encode()).hexdigest()


def hash_source(file: File) -> str:
    """A hash of what a config says the contents of a file are."""
    said = [dump(file.contents), *map(dump, file.append)]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def write_record(root: Root, record: Record) -> None:
    """Put it where it is looked for, whole or not at all."""
    data = {"schema": SCHEMA, **record._asdict()}
    for name in ("entries", "others"):
        data[name] = {path: [*entry] for path, entry in data[name].items()}
    root.make_directory(APPLIED.rpartition("/")[0], 0o700)
    root.write(APPLIED, json.dumps(data, separators=(",", ":")).encode() + b"\n", mode=0o600)


def read_record(root: Root) -> Record | None:
    """What :func:`write_record` wrote; ``None`` if nothing was applied.

    Raises:
        OSError: only root may read it.
        ValueError: it is something else.
    """
    try:
        data = json.loads(root.read(APPLIED))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ValueError(f"{APPLIED} is damaged") from None
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise ValueError(f"{APPLIED} is not of this version")
    try:
        for name in ("entries", "others"):
            data[name] = {path: RecordedPath(*entry) for path, entry in data.get(name, {}).items()}
        return Record(**data)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{APPLIED} is damaged") from error
