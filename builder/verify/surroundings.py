"""What a build must not depend on, as the process itself sees it."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path


def describe_surroundings(*, caches: str, order: str) -> dict[str, str]:
    """One line each, for people; asked of the process that builds, so that a perturbation that failed is seen.

    Args:
        caches: what of earlier builds is used.
        order: of directories' entries.
    """
    home = Path(os.environ.get("HOME", ""))
    writable = os.access(home, os.W_OK)
    umask = os.umask(0o022)
    os.umask(umask)
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "working directory": str(Path.cwd()),
        "TMPDIR": tempfile.gettempdir(),
        "HOME": f"{home}{'' if writable else ' (read-only)'}",
        "PATH": os.environ.get("PATH", ""),
        "umask": f"{umask:03o}",
        "TZ": os.environ.get("TZ", "not set"),
        "LANG": os.environ.get("LC_ALL") or os.environ.get("LANG", "not set"),
        "host name": socket.gethostname(),
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "random"),
        "processors": f"{os.cpu_count()} counted by us, {os.sysconf('SC_NPROCESSORS_ONLN')} by programs,"
        f" {len(os.sched_getaffinity(0))} to run on",
        "clock": datetime.now().astimezone().strftime("%Y-%m-%d"),
        "directory order": order,
        "caches": caches,
    }


def format_surroundings(values: Mapping[str, str]) -> str:
    """As a file has it."""
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"
