"""What is written goes through a program of the tools tree that compresses, into a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from builder.core.errors import ToolError
from builder.core.tools import Tools


@contextmanager
def open_compressor(tools: Tools, out: BinaryIO, *command: str) -> Iterator[BinaryIO]:
    """Compress what is written, into ``out``.

    Args:
        command: reads standard input and writes standard output.

    Raises:
        CapabilityError: the tools tree has no such program.
        ToolError: it failed, or ended before its input.
    """
    out.flush()
    with (
        tools.spawn(*command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE) as process,
        process,  # closes the pipes
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        early = False
        try:
            yield process.stdin  # type: ignore[misc]  # an IO[bytes] is all that is needed
            process.stdin.close()
        except BrokenPipeError:
            early = True
            with suppress(BrokenPipeError):
                process.stdin.close()  # what is still in our buffer has nobody to read it
        message = process.stderr.read().decode(errors="replace")
        if process.wait() != 0 or early:
            what = "ended before its input" if early else "failed"
            raise ToolError(
                f"{command[0]} {what}", details=message.splitlines(), hint="is the disk full?" if early else None
            )
