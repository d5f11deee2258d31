"""Starting a process that makes or looks at one machine and ends, on a processor that may be emulated."""

from __future__ import annotations

import gc


def start_lean() -> None:
    """Call first."""
    # Classes and what a config says live until the end; looking for garbage among them finds none.
    gc.disable()
