"""Which cells are not what they were at an earlier revision: both are planned, and their keys compared."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.core.errors import CapabilityError, InputError
from builder.core.store import Store
from builder.matrix.cells import Cell, load_matrix
from builder.matrix.plan import derive_keys


def list_changed(cells: Sequence[Cell], matrix: Path, revision: str, store: Store) -> tuple[Cell, ...]:
    """The cells that are new since a revision of git's, or whose artifacts would be others than there.

    A cell without a lock that fits it counts as changed: which packages it gets is not known.

    Raises:
        InputError: there is no such revision, or the matrix is in no repository.
        CapabilityError: this machine has no git.
    """
    top = Path(_ask_git(matrix.absolute().parent, "rev-parse", "--show-toplevel").decode().strip())
    now = derive_keys(cells, store)
    with tempfile.TemporaryDirectory(prefix="build-os-matrix-") as scratch:
        _unpack_revision(top, revision, Path(scratch))
        older = Path(scratch) / matrix.resolve().relative_to(top.resolve())
        before = derive_keys(load_matrix(older).cells, store) if older.is_file() else {}
    return tuple(cell for cell in cells if not now[cell.id] or before.get(cell.id) != now[cell.id])


def _unpack_revision(top: Path, revision: str, directory: Path) -> None:
    """All files of a revision, and a mark that the repository ends here, where names are looked up."""
    commit = _ask_git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    archive = directory / ".archive.tar"
    _ask_git(top, "archive", "--format=tar", f"--output={archive}", commit.decode().strip())
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(directory, filter="tar")  # links may be absolute: a unit that is masked is one
    except tarfile.TarError as error:
        raise InputError(f"the revision '{revision}' cannot be unpacked: {error}") from error
    archive.unlink()
    (directory / ".git").mkdir(exist_ok=True)


def _ask_git(directory: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(directory), *words], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise CapabilityError("there is no git here, which knows what has changed") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if words[0] == "rev-parse" and "--verify" in words:
            raise InputError(f"git knows no revision '{words[-1].removesuffix('^{commit}')}'")
        raise InputError(f"git {words[0]} failed in {directory}", details=said)
    return done.stdout
