"""zstd by the tools tree's program, which is locked: Python has had one of its own since 3.14 only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from builder.core.compressor import open_compressor
from builder.core.enter import CANNOT_ENTER
from builder.core.tools import Tools

CHUNK = 1 << 20
# Frames whose window is larger are refused: that much memory is what a reader may need (RFC 8878, section 3.1.1.1.2).
WINDOW = 27
PREFIX = "/*stdin*\\ : "  # how its messages begin


def decompress_zstd(tools: Tools, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a zstd stream unpacks to, in pieces. The program sees its input and nothing else.

    Raises:
        ValueError: it is damaged, or needs a window over 128 MiB.
        CapabilityError: the tools tree has no zstd, or this machine does not let us enter it.
    """
    process = tools.start_in_empty_root("zstd", "--decompress", "--stdout", f"--long={WINDOW}", "--quiet")
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        failed: list[BaseException] = []
        thread = threading.Thread(target=_feed, args=(pieces, process.stdin, failed), daemon=True)
        thread.start()
        try:
            while piece := process.stdout.read(CHUNK):
                yield piece
            message = process.stderr.read().decode(errors="replace")
            status = process.wait()
        finally:
            process.kill()  # of a stream that was given up
            thread.join()
    if failed:
        raise failed[0]
    if status == CANNOT_ENTER:
        raise tools.make_error(("zstd", "--decompress"), status, message.splitlines())
    if status != 0:
        # What it says first is why; the lines after it advise to allow what is not allowed here.
        reasons = [line.removeprefix(PREFIX) for line in message.splitlines() if line.startswith(PREFIX)]
        raise ValueError((reasons or message.splitlines() or [f"zstd ended with status {status}"])[0])


def _feed(pieces: Iterable[bytes], pipe: BinaryIO, failed: list[BaseException]) -> None:
    try:
        with pipe:
            for piece in pieces:
                pipe.write(piece)
    except BrokenPipeError:
        pass  # it says by itself what it did not like
    except Exception as error:
        failed.append(error)


def open_zstd(tools: Tools, out: BinaryIO, *, level: int) -> AbstractContextManager[BinaryIO]:
    """Compress what is written, into ``out``. One thread: the bytes do not depend on the number of processors.

    Raises:
        CapabilityError: the tools tree has no zstd.
        ToolError: it failed.
    """
    return open_compressor(tools, out, "zstd", "--compress", "--stdout", "--quiet", "--single-thread", f"-{level}")
