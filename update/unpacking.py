"""What is in a file of zstd, with a bound on the memory that somebody else's file may make the program take."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from update.errors import UpdateError

ZSTD = ("zstd",)
_MOST_SAID = 1000  # bytes of what the program has to complain of


@contextmanager
def open_zstd(path: Path, memory_mib: int, zstd: Sequence[str] = ZSTD) -> Iterator[IO[bytes]]:
    """What comes out of it, to be read to its end inside the block.

    Args:
        memory_mib: files that need more for their window are refused.
        zstd: the program, with words before its options.

    Raises:
        UpdateError: it is damaged or needs too much memory, the program is not there; or what the block itself raises,
            with what the program said if it said anything.
    """
    command = [*zstd, "--decompress", "--stdout", "--quiet", f"--memory={memory_mib}MiB", "--", str(path)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise UpdateError(f"the program {command[0]} cannot be started: {error.strerror}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process.stdout
    except UpdateError as error:
        process.kill()
        raise UpdateError(f"{path.name}: {_read_last(process.stderr) or error}") from None
    else:
        said = _read_last(process.stderr)
        if process.wait() != 0:
            raise UpdateError(f"{path.name} cannot be unpacked: {said}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _read_last(stream: IO[bytes]) -> str:
    lines = stream.read(_MOST_SAID).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
