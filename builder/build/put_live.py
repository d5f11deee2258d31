"""What puts files into a running machine: it runs **there**, on the machine's Python and its standard library alone.

Reads what :func:`builder.build.live.encode_changes` writes, and prints what became of it. A file is written beside its
place and renamed; one of ``/etc`` that the machine has changed itself stays.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 90.0  # for a command: a unit's own limit to start is that


def main(text: str, root: str = "") -> str:
    """Do it; ``root`` is put before all paths, for tests."""
    asked = json.loads(text)
    failed = []
    for command in asked["first"]:
        call(command)  # a unit that was never enabled, or does not run
    kept = [row["path"] for row in asked["files"] if not put(row, Path(root + row["path"]))]
    for command in asked["commands"]:
        status, said = call(command)
        if status:
            failed.append([command, said])
    return json.dumps({"kept": kept, "failed": failed})


def put(row: dict[str, Any], path: Path) -> bool:
    """Put a file; returns whether it is as it should be now."""
    if row["check"] and read_hash(path) not in (row["before"], hash_wanted(row)):
        return False
    if row["what"] == "nothing":
        path.unlink(missing_ok=True)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.build-os-new")
    fresh.unlink(missing_ok=True)
    if row["what"] == "link":
        fresh.symlink_to(row["target"])
    else:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64decode(row["data"]))
            os.fchmod(handle, row["mode"])
    fresh.rename(path)
    return True


def hash_wanted(row: dict[str, Any]) -> str | None:
    """The hash of what is to be there; None for nothing."""
    if row["what"] == "nothing":
        return None
    data = row["target"].encode() if row["what"] == "link" else base64.b64decode(row["data"])
    return hashlib.sha256(data).hexdigest()


def read_hash(path: Path) -> str | None:
    """The hash of what is there; None for nothing."""
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def call(command: list[str]) -> tuple[int, str]:
    """The status of a command, and what it said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-2000:]


if __name__ == "__main__":
    sys.stdout.write(main(sys.stdin.read()) + "\n")
