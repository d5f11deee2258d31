"""``charged.py FILE COMMAND...``: run a command, and add the processor seconds of it and its children to a file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys


def main(log: str, command: list[str]) -> int:
    """The command's exit status."""
    status = subprocess.run(command, check=False).returncode
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "a", encoding="ascii") as file:  # noqa: PTH123 - starts as fast as it can
        file.write(f"{usage.ru_utime + usage.ru_stime:.3f}\n")
    return status if status >= 0 else 128 + abs(status)


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2:]))
