"""What a build does of wheels until its tree has them: verify, unpack, lay out, write RECORDs; for ``wheels.py``.

python -m tests.bench.unpack_wheels ROWS STORE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.debian.lock import LockedWheel
from builder.python.install import finish_record, install_wheel
from builder.python.pack import unpack_wheels
from builder.python.scheme import make_scheme


def main(rows: Path, store: Path) -> None:
    """Do it."""
    wheels = [LockedWheel(*row) for row in json.loads(rows.read_text())]
    for pack in unpack_wheels(wheels, Store(store), QuietConsole()):
        finish_record(install_wheel(pack, make_scheme("bench"), requested=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
