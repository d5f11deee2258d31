"""The clock that programs of the tools tree see: libfaketime answers instead of the kernel."""

from __future__ import annotations

import time
from collections.abc import Mapping

from builder.core.errors import CapabilityError
from builder.core.tools import Tools

_LIBRARY = "usr/lib/*/faketime/libfaketime.so.1"


def find_clock_library(tools: Tools) -> str:
    """Where libfaketime is, inside the tools tree.

    Raises:
        CapabilityError: it is not there.
    """
    library = next(tools.root.glob(_LIBRARY), None)
    if library is None:
        raise CapabilityError("the tools tree has no libfaketime", hint="'build-os lock --update' takes today's tools")
    return f"/{library.relative_to(tools.root)}"


def stop_clock(tools: Tools, epoch: int) -> Mapping[str, str]:
    """The environment in which a program sees the same time for ever: ``epoch``, in seconds since 1970."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch))
    return {"LD_PRELOAD": find_clock_library(tools), "FAKETIME": when}
