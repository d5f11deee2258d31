"""The machine as the agent sees it. A value, so that a test can put a whole machine into a directory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from firstboot.config.named_tuple import NamedTuple
from update.errors import UpdateError
from update.unpacking import open_zstd

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/systemd"
_CHUNK = 1 << 20
# Of memory that a file of somebody else's may make zstd take: what the publisher compresses with stays far below.
MEMORY_MIB = 64
TIMEOUT = 900  # seconds that a program may take: a slot is written by one, on a slow disk
# The Boot Loader Interface (systemd.io/BOOT_LOADER_INTERFACE).
_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def run_program(argv: Sequence[str], timeout: float = TIMEOUT) -> str:
    """Run a program to its end.

    Returns:
        Its standard output.

    Raises:
        UpdateError: it is not there, failed, or took too long; with its last lines.
    """
    places = [f"{directory}/{argv[0]}" for directory in _SEARCH.split(":")]
    path = next((place for place in places if os.access(place, os.X_OK)), None)
    if path is None:
        raise UpdateError(f"the program {argv[0]} is not in the image")
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": _SEARCH, "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0"},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UpdateError(f"{argv[0]} took longer than {timeout:.0f} s") from None
    except OSError as error:
        raise UpdateError(f"{argv[0]} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
        lines = [f"  {line}" for line in said if line.strip()][-5:]
        raise UpdateError("\n".join([f"{argv[0]} failed with status {done.returncode}", *lines]))
    return done.stdout.decode("utf-8", "replace")


def decompress(path: Path) -> Iterator[bytes]:
    """What is in a file of zstd, in pieces.

    Raises:
        UpdateError: it is damaged, or the program is not there.
    """
    with open_zstd(path, MEMORY_MIB) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk.

    Raises:
        OSError: the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Host(NamedTuple):
    """The machine.

    Attributes:
        root: the directory that is ``/``.
        run: starts a program, as :func:`run_program`.
        decompress: what is in a file of zstd, as :func:`decompress`.
        now: seconds since 1970.
    """

    root: Path = Path("/")
    run: Callable[..., str] = run_program
    decompress: Callable[[Path], Iterator[bytes]] = decompress
    now: Callable[[], float] = time.time

    def locate(self, path: str) -> Path:
        """A path inside the root."""
        return self.root / path.lstrip("/")

    def read_boot_id(self) -> str:
        """The boot's, as journalctl(1) takes it; empty where the kernel gives none."""
        try:
            text = self.locate("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        except OSError:
            return ""
        return text.strip().replace("-", "")

    def read_machine_id(self) -> str:
        """The machine's (machine-id(5)), or an empty text."""
        try:
            return self.locate("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def read_loader_variable(self, name: str) -> str | None:
        """What systemd-boot has left in the firmware's variables under a name."""
        path = self.locate(f"/sys/firmware/efi/efivars/{name}-{_LOADER}")
        try:
            data = path.read_bytes()
        except OSError:
            return None
        # Four bytes of attributes, then UTF-16.
        return data[4:].decode("utf-16-le", "replace").rstrip("\0")

    def is_counted(self) -> bool:
        """Whether the boot loader counts this boot: the version is on trial, or was when it started."""
        return self.read_loader_variable("LoaderBootCountPath") is not None
