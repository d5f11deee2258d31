"""gzip by the tools tree's pigz: on all processors, and the same bytes on every machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from builder.core.errors import ToolError
from builder.core.tools import Tools

PIGZ = ("pigz", "--no-name", "--processes", "4", "--stdout")


@contextmanager
def open_gzip(tools: Tools, out: BinaryIO, *, level: int) -> Iterator[BinaryIO]:
    """Compress what is written, into ``out``.

    pigz cuts its input into blocks of fixed size, so its output does not depend on the number of processors,
    as long as it is told to use more than one.

    Raises:
        CapabilityError: the tools tree has no pigz.
        ToolError: it failed.
    """
    command = (*PIGZ, f"-{level}")
    out.flush()
    try:
        with (
            tools.spawn(*command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE) as process,
            process,  # closes the pipes
        ):
            assert process.stdin is not None
            assert process.stderr is not None
            yield process.stdin  # type: ignore[misc]  # an IO[bytes] is all that is needed
            process.stdin.close()
            message = process.stderr.read().decode(errors="replace")
            if process.wait() != 0:
                raise ToolError("pigz failed", details=message.splitlines())
    except BrokenPipeError as error:
        raise ToolError("pigz ended before its input", hint="is the disk full?") from error
