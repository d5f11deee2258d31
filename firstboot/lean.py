"""Starting a process that makes or looks at one machine and ends, on a processor that may be emulated."""

from __future__ import annotations

import gc
import sys


def start_lean() -> None:
    """Call first."""
    # Classes and what a config says live until the end; looking for garbage among them finds none.
    gc.disable()


def hash_without_openssl() -> None:
    """For a first boot, which hashes little: call before anything imports hashlib."""
    # Python's own SHA-2 instead of OpenSSL's: loading and relocating a library of 6 MB takes longer under emulation
    # than all that a first boot hashes.
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]  # how an import is made to fail
