"""Archives with a million members are refused by name, in bounded memory and time, by the code that reads real ones."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debs import Deb, ar, stanza_text, tar, tar_directory, tar_entry, tar_header

pytestmark = pytest.mark.image

COUNT = 1_000_001
# Files mapped into memory are in it: the uncompressed archive alone has 512 MB.
MEMORY = 900  # MB
SECONDS = 240  # of CPU; it takes ten on a machine of 2026
MEASURED = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
try:
    READ
except BuildError as error:
    print(error.what)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
READ_DEB = """
from pathlib import Path
from builder.core.errors import BuildError
from builder.core.store import Store
from builder.debian.lock import LockedPackage
from builder.debian.pack import unpack
import sys
store, row = Store(Path(sys.argv[1])), sys.argv[2:]
package = LockedPackage(row[0], row[1], row[2], row[3], int(row[4]), row[5], row[6], row[7])
"""
READ_LAYER = """
from pathlib import Path
from builder.core.errors import BuildError
from builder.tree.layer import read_layer
from builder.tree.tree import Tree
import sys
"""


def members(count: int) -> Iterator[bytes]:
    """A tar of so many empty files, in pieces."""
    header = bytearray(tar_header("./0000000"))
    header[148:156] = b" " * 8
    without_digits = sum(header) - 7 * ord("0")
    piece = bytearray()
    for number in range(count):
        digits = b"%07d" % number
        header[2:9] = digits
        header[148:156] = b"%06o\0 " % (without_digits + sum(digits))
        piece += header
        header[148:156] = b" " * 8
        if len(piece) >= 1 << 20:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + bytes(1024)


def measured(imports: str, read: str, *arguments: object) -> tuple[str, int]:
    """What was said when it was refused, and the process's largest size in MB."""
    program = imports + MEASURED.replace("READ", read).replace("SECONDS", str(SECONDS))
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, size = done.stdout.splitlines()
    return said, int(size)


def test_a_deb_with_a_million_members_is_refused(tmp_path: Path) -> None:
    from builder.core.store import Store

    fields = {"Package": "many", "Version": "1.0-1", "Architecture": "all", "Installed-Size": "500000"}
    data = tmp_path / "data.tar.gz"
    with gzip.open(data, "wb", compresslevel=1) as file:
        for piece in members(COUNT):
            file.write(piece)
    control = gzip.compress(tar(tar_directory("./"), tar_entry("./control", stanza_text(fields).strip() + "\n")))
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.gz", data.read_bytes()))
    locked = Deb(ar(*parts), fields)
    store = Store(tmp_path / "store")
    store.add_bytes(locked.data)
    package = locked.locked
    row = (package.name, package.version, package.architecture, package.sha256, package.size, package.path)
    said, size = measured(READ_DEB, "unpack(store, package)", store.root, *row, package.source, package.suite)
    assert said == "many 1.0-1: it has more than 500000 members"
    assert size < MEMORY
    assert not list((store.root / "packs").iterdir())


@pytest.mark.slow
def test_a_layer_with_a_million_members_is_refused(tmp_path: Path) -> None:
    layer = tmp_path / "layer.tar"
    with layer.open("wb") as file:
        for piece in members(COUNT):
            file.write(piece)
    read = "read_layer(Tree(), Path(sys.argv[1]), origin='container:web')"
    said, size = measured(READ_LAYER, read, layer)
    assert said == "container:web: layer member 1000001: more than 1000000 members"
    assert size < MEMORY
