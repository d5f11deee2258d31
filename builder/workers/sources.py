"""What workers are given to work on: a repository's files, as an entry of the shared cache."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.core.errors import CapabilityError, InputError, SourceError
from builder.sharing.archive import describe_files
from builder.sharing.cache import SharedCache

MOST_SOURCES = 200_000_000  # bytes
# What a private key in PEM or in OpenPGP's armour has in its first line, and in how many bytes that is looked for.
PRIVATE_KEY, HEAD = b"PRIVATE KEY", 4096
LARGEST = 5


def push_sources(cache: SharedCache, directory: Path, definitions: Sequence[Path]) -> tuple[str, str]:
    """Put all that a task may name into the cache: the repository's files, or what is below the directory if it is in
    none. Returns the entry's name, and what the directory is called in it (``.`` if it is all of it).

    Raises:
        InputError: it is too much to be sources, or a definition lies elsewhere.
        SourceError: the cache does not take it.
    """
    top, files = list_sources(directory)
    if outside := [path for path in definitions if not path.resolve().is_relative_to(top)]:
        raise InputError(f"{outside[0]} is not below {top}, which is all that workers are given")
    sizes = {name: path.lstat().st_size for name, path in files.items()}
    if (size := sum(sizes.values())) > MOST_SOURCES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST]
        raise InputError(
            f"what is below {top} has {size} bytes, too much to be definitions",
            details=[f"{name}: {sizes[name]} bytes" for name in largest],
            hint="what git ignores is not sent",
        )
    files = {**_list_parents(files, top), **files}
    described = sorted(describe_files(files).items())  # with modes, and what links point to
    name = f"sources-2-{hashlib.sha256(json.dumps(described).encode()).hexdigest()}"
    try:
        with tempfile.TemporaryDirectory(prefix="build-os-sources-") as scratch:
            cache.push(name, files, Path(scratch), seconds=60.0)
    except OSError as error:
        raise SourceError(f"the cache {cache.place.url} does not take the definitions: {error}") from error
    return name, directory.resolve().relative_to(top).as_posix()


def _list_parents(files: Mapping[str, Path], top: Path) -> dict[str, Path]:
    """The directories that files are in, by name."""
    names = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    return {name: top / name for name in names}


def list_sources(directory: Path) -> tuple[Path, dict[str, Path]]:
    """The directory that everything is below, and its files and links by name: of a repository those that git knows or
    would add, and locks. What is below ``out`` is none of them, and neither are private keys: who can read the cache is
    not who may sign."""
    directory = directory.resolve()
    top = next((path for path in (directory, *directory.parents) if (path / ".git").exists()), None)
    if top is None:
        return directory, _choose(directory, (path.relative_to(directory).as_posix() for path in directory.rglob("*")))
    argv = ["git", "-C", str(top), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(argv, capture_output=True, check=True).stdout.decode(errors="surrogateescape")
    except (OSError, subprocess.CalledProcessError) as error:
        raise CapabilityError(f"git does not say what is in {top}: {error}") from error
    locks = [path.relative_to(top).as_posix() for path in directory.rglob("*.lock")]
    return top, _choose(top, [*listed.split("\0"), *(name for name in locks if not name.startswith(".git/"))])


def _choose(top: Path, names: Iterable[str]) -> dict[str, Path]:
    files = {name: top / name for name in names if name and not name.startswith("out/")}
    # A link is sent as one, wherever it points: in an overlay it means something on the machine.
    return {name: path for name, path in files.items() if path.is_symlink() or (path.is_file() and not _is_key(path))}


def _is_key(path: Path) -> bool:
    with path.open("rb") as file:
        return PRIVATE_KEY in file.read(HEAD)
