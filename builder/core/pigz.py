"""gzip by the tools tree's pigz: on all processors, and the same bytes on every machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO

from builder.core.compressor import open_compressor
from builder.core.tools import Tools

PIGZ = ("pigz", "--no-name", "--processes", "4", "--stdout")


def open_gzip(tools: Tools, out: BinaryIO, *, level: int) -> AbstractContextManager[BinaryIO]:
    """Compress what is written, into ``out``.

    pigz cuts its input into blocks of fixed size, so its output does not depend on the number of processors,
    as long as it is told to use more than one.

    Raises:
        CapabilityError: the tools tree has no pigz.
        ToolError: it failed.
    """
    return open_compressor(tools, out, *PIGZ, f"-{level}")
