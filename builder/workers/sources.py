"""What workers are given to work on: a repository's files, as an entry of the shared cache."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.core.errors import CapabilityError, InputError
from builder.core.files import hash_file
from builder.sharing.cache import SharedCache

MOST_SOURCES = 200_000_000  # bytes
# What a key in PEM has in its first line, of whatever kind it is, and in how many bytes that is looked for.
PRIVATE_KEY, HEAD = b"PRIVATE KEY-----", 4096


def push_sources(cache: SharedCache, directory: Path, definitions: Sequence[Path]) -> tuple[str, str]:
    """Put all that a task may name into the cache: the repository's files, or what is below the directory if it is in
    none. Returns the entry's name, and what the directory is called in it (``.`` if it is all of it).

    Raises:
        InputError: it is too much to be sources, or a definition lies elsewhere.
        BuildError, OSError: the cache does not take it.
    """
    top, files = list_sources(directory)
    if outside := [path for path in definitions if not path.resolve().is_relative_to(top)]:
        raise InputError(f"{outside[0]} is not below {top}, which is all that workers are given")
    if (size := sum(path.stat().st_size for path in files.values())) > MOST_SOURCES:
        raise InputError(
            f"what is below {top} has {size} bytes, too much to be definitions", hint="keep them in a repository of git"
        )
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hash_file(path)}\0".encode())
    name = f"sources-1-{digest.hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="build-os-sources-") as scratch:
        cache.push(name, {**_list_parents(files, top), **files}, Path(scratch), seconds=60.0)
    return name, directory.resolve().relative_to(top).as_posix()


def _list_parents(files: Mapping[str, Path], top: Path) -> dict[str, Path]:
    """The directories that files are in, by name."""
    names = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    return {name: top / name for name in names}


def list_sources(directory: Path) -> tuple[Path, dict[str, Path]]:
    """The directory that everything is below, and its files by name: of a repository those that git knows or would
    add, and locks. Private keys are none of them: who can read the cache is not who may sign."""
    directory = directory.resolve()
    top = next((path for path in (directory, *directory.parents) if (path / ".git").exists()), None)
    if top is None:
        names = [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]
        return directory, _leave_out_keys({name: directory / name for name in names if not name.startswith("out/")})
    argv = ["git", "-C", str(top), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(argv, capture_output=True, check=True).stdout.decode(errors="surrogateescape")
    except (OSError, subprocess.CalledProcessError) as error:
        raise CapabilityError(f"git does not say what is in {top}: {error}") from error
    names = [*listed.split("\0"), *(path.relative_to(top).as_posix() for path in directory.rglob("*.lock"))]
    return top, _leave_out_keys({name: top / name for name in names if name and (top / name).is_file()})


def _leave_out_keys(files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if not _is_private_key(path)}


def _is_private_key(path: Path) -> bool:
    with path.open("rb") as file:
        return PRIVATE_KEY in file.read(HEAD)
