"""Work that runs beside other work, with results that do not depend on who is faster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def run_parallel(*functions: Callable[[], T], jobs: int | None = None) -> Sequence[T]:
    """Call the functions beside each other, begun in their order; what they return is in their order, too.

    Threads, so it pays where the work waits for programs or files, or leaves Python's lock. Each sees the context
    variables as they are here (the console's indentation is one).

    Args:
        jobs: how many run at the same time; by default as many as there are processors.

    Raises:
        BaseException: of the first function, in their order, that failed; the others have ended, or were not begun.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - brings logging, and many commands run nothing

    pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1)
    futures = [pool.submit(copy_context().run, function) for function in functions]
    try:
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
