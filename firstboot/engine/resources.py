"""Everything a config names by a URL, fetched and verified before anything is written: all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from firstboot.apply.programs import ProgramError
from firstboot.config.lazy import import_lazily
from firstboot.config.rendering import make_resource_error
from firstboot.config.resource import BadResource, is_inline
from firstboot.places import MARKER, RUN_DIRECTORY, Places

if TYPE_CHECKING:
    import shutil
    import tempfile

    from firstboot.apply import archives as unpack
    from firstboot.apply import contents as stored
    from firstboot.apply import unpacking
    from firstboot.apply.contents import Contents, Fetched
    from firstboot.apply.programs import Programs
    from firstboot.config import clevis
    from firstboot.config.loaded import LoadedConfig
    from firstboot.config.models import Config, Resource
    from firstboot.config.text import Path
    from firstboot.engine.remote import Remote
else:
    clevis = import_lazily("firstboot.config.clevis")
    shutil = import_lazily("shutil")
    stored = import_lazily("firstboot.apply.contents")
    tempfile = import_lazily("tempfile")
    unpack = import_lazily("firstboot.apply.archives")
    unpacking = import_lazily("firstboot.apply.unpacking")

_PREFIX = "fetched-"


def list_keys(config: Config) -> list[tuple[Path, Resource]]:
    """Keys of encrypted devices that are elsewhere, and what Tang servers say of theirs, with places in the config."""
    keys: list[tuple[Path, Resource]] = []
    for index, luks in enumerate(config.storage.luks):
        at: Path = ("storage", "luks", index)
        keys.append(((*at, "keyFile"), luks.key_file))
        if luks.clevis.tang:
            asked = [(place, tang) for place, tang in enumerate(luks.clevis.tang) if not tang.advertisement]
            keys += [((*at, "clevis", "tang", place), clevis.locate_advertisement(tang)) for place, tang in asked]
    return [(path, resource) for path, resource in keys if not is_inline(resource)]


def list_files(config: Config) -> list[tuple[Path, Resource]]:
    """Contents of files that are elsewhere, with their places in the config."""
    files: list[tuple[Path, Resource]] = []
    for index, file in enumerate(config.storage.files):
        at: Path = ("storage", "files", index)
        files.append(((*at, "contents"), file.contents))
        files += [((*at, "append", position), resource) for position, resource in enumerate(file.append)]
    return [(path, resource) for path, resource in files if not is_inline(resource)] + list_archives(config)


def list_archives(config: Config) -> list[tuple[Path, Resource]]:
    """Archives, with their places in the config."""
    return [(("storage", "archives", index), archive.resource) for index, archive in enumerate(config.storage.archives)]


def fetch_keys(loaded: LoadedConfig, remote: Remote) -> Fetched:
    """Keys of encrypted devices, and what servers say that open them; all of it stays in memory.

    Raises:
        ConfigError: one cannot be had.
    """
    contents: dict[Resource, Contents] = {}
    for index, luks in enumerate(loaded.config.storage.luks):
        if luks.clevis.custom.needs_network:
            try:
                remote.connect()
            except BadResource as error:
                raise make_resource_error(loaded, error, ("storage", "luks", index, "clevis", "custom")) from None
    for path, resource in list_keys(loaded.config):
        try:
            contents[resource] = remote.read_key(resource)
        except BadResource as error:
            raise make_resource_error(loaded, error, path) from None
    return contents


@contextmanager
def fetch_files(loaded: LoadedConfig, remote: Remote, above: FilePath | None, programs: Programs) -> Iterator[Fetched]:
    """Contents of files, as long as they are needed.

    Args:
        above: a directory of our own to put them into; otherwise they are where temporary files are.

    Raises:
        ConfigError: one cannot be had.
    """
    wanted = list_files(loaded.config)
    packed = {resource for _, resource in list_archives(loaded.config)}
    if not wanted:
        yield {}
        return
    if above is not None:
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in above.glob(f"{_PREFIX}*"):
            shutil.rmtree(left)  # the power went off while they were fetched
    contents: dict[Resource, Contents] = {}
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=above) as directory:
        for path, resource in wanted:
            if resource in contents:
                continue
            target = FilePath(directory, str(len(contents)))
            try:
                with target.open("w+b") as file:
                    remote.read_into(resource, file)
                if resource in packed:
                    _decompress(target, programs)
                contents[resource] = stored.Stored(target, target.stat().st_size)
            except BadResource as error:
                raise make_resource_error(loaded, error, path) from None
        yield contents


def _decompress(path: FilePath, programs: Programs) -> None:
    try:
        unpack.decompress(path, programs)
    except unpacking.BadArchive as error:
        raise BadResource(f"the archive {error}", "source") from None
    except ProgramError as error:
        raise BadResource(f"the archive cannot be unpacked: {error}", "source") from None


def find_scratch(places: Places) -> FilePath:
    """Where large things fit: on the state partition if there is one, for memory may be small."""
    state = places.locate(MARKER).parent
    return state if state.parent.is_dir() else places.locate(RUN_DIRECTORY)
