"""What the disk under the store may do to us, in words that help."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from builder.core.errors import CapabilityError
from builder.core.store import Store


@contextmanager
def explain_store_errors(store: Store) -> Iterator[None]:
    """Turn failures of the store's disk into errors that say what to do.

    Raises:
        CapabilityError: instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CapabilityError(
                f"no space left for the store {store.root}",
                hint="'build-os cache clear' makes room; BUILD_OS_CACHE can name a larger disk",
            ) from error
        raise CapabilityError(
            f"cannot use the store {store.root}: {error.strerror or error}",
            hint="set BUILD_OS_CACHE to a directory you can write",
        ) from error
