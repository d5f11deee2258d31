"""What a worker's task has left, as an entry of the shared cache that only its client wants."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from builder.core.errors import BuildError
from builder.sharing.cache import SharedCache


def bring_results(cache: SharedCache, entry: str, directory: Path) -> bool:
    """Have it in a directory, in the place of what was there; returns whether it came. It stays in the cache where it
    did not, and where the cache deletes nothing: pruning takes it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-results-") as scratch:
        fresh = Path(scratch, "results")
        fresh.mkdir()
        if cache.bring(entry, fresh) is None:
            return False
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)
    with suppress(OSError, BuildError):
        cache.place.delete(entry)
    return True
