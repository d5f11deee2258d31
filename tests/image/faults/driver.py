"""build-os as the tests of faults run it: with their key trusted, their patience, and less room demanded.

Usage: driver.py KEYRING FINGERPRINT ROOM PATIENCE STEP COMMAND ...

The step of that title is held when it opens, until standard input ends, so that a test can strike just then; "" holds
none. PATIENCE is how many seconds a silent mirror is waited for. With FAILING_DISK=SEED:SHARE:DIRECTORY in the
environment, such a share of reads and writes of files below the directory fails with EIO, the same for one seed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Our directory is where this program is: it is not part of a package when it is started.
import failing_disk

from builder.build import workspace
from builder.cli import main
from builder.core import console
from builder.core.http import Patience
from builder.debian import archive, fetch
from builder.debian.transfer import Client
from builder.debian.trust import Trust

keyring, fingerprint, room, seconds, step, *command = sys.argv[1:]
patience = Patience(connect=30, read=float(seconds), window=float(seconds), rounds=2, pause=0.05)
archive.Trust = lambda: Trust({fingerprint: None}, (Path(keyring),))  # type: ignore[assignment,misc]
for module in (archive, fetch):
    module.Client = lambda: Client(patience)  # type: ignore[assignment,misc]
workspace.ROOM = int(room)
opened = console.PlainConsole._opened


def hold(self: console.PlainConsole, title: str) -> None:
    opened(self, title)
    if title == step:
        sys.stderr.write(f"held: {title}\n")
        sys.stderr.flush()
        sys.stdin.read()


console.PlainConsole._opened = hold  # type: ignore[method-assign]
if "FAILING_DISK" in os.environ:
    seed, share, directory = os.environ["FAILING_DISK"].split(":", 2)
    failing_disk.install(int(seed), float(share), directory)
main(command)
