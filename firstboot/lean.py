"""Starting a process that makes or looks at one machine and ends, on a processor that may be emulated."""

from __future__ import annotations

import gc
import sys


def start_lean() -> None:
    """Call first."""
    # Classes and what a config says live until the end; looking for garbage among them finds none.
    gc.disable()


def start_alone() -> None:
    """Call first in a process that is a first boot and nothing else: it hashes little, and has YAML for itself."""
    start_lean()
    # Python's own SHA-2 instead of OpenSSL's: loading and relocating a library of 6 MB takes longer under emulation
    # than all that a first boot hashes. An import of None fails.
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]


def is_alone() -> bool:
    """Whether :func:`start_alone` was called."""
    return sys.modules.get("_hashlib", ...) is None
