"""One set compared: what a test asserts and what ``python -m tests.oracle`` prints."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.debian.scripts.decisions import DEFAULT, Decision
from builder.tree.tree import Tree
from tests.oracle.accepted import Accepted, canonical, explain
from tests.oracle.compare import Difference, compare
from tests.oracle.roots import installed, make_ours, make_theirs
from tests.support.archive import Source

REPOSITORY = Path(__file__).parent.parent.parent
ROOM = REPOSITORY / "out" / "oracle"
# Two files of bytecode after their headers; the interpreter that they are for compares what it loads from them.
SAME_CODE = """
import marshal, sys
one, two = (marshal.loads(open(path, "rb").read()[16:]) for path in sys.argv[1:])
sys.stdout.write("same" if one == two else "different")
"""


@dataclass(frozen=True)
class Report:
    """One set.

    Attributes:
        packages: how many; ``paths``: how many of both trees were compared.
        unexplained: differences that nothing explains.
        counts: how many each accepted entry explains.
        stale: entries that should have explained something and did not.
    """

    packages: int
    paths: int
    unexplained: tuple[Difference, ...]
    counts: dict[Accepted, int]
    stale: tuple[Accepted, ...]


class Refused(QuietConsole):
    """Remembers what a build kept out of the image because it is a secret or a machine's own."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()

    def warn(self, message: str) -> None:
        found = re.search(r" makes (/\S+), which is not in the image", message)
        if found:
            self.paths.add(found[1])


def compare_set(names: Sequence[str], store: Store, *, policy: bool = False) -> Report:
    """Build a set both ways and compare.

    Args:
        policy: run what is not understood in the sandbox; what is then kept out, with a warning, is explained.

    Raises:
        AssertionError: mmdebstrap failed, or took other packages than we.
    """
    with closing(Refused()) as console:
        source = Source.open(store, console)
        packages = source.packages(names)
        theirs = make_theirs(source, names, packages, ROOM)
        chosen = {package.name: package.version for package in packages}
        assert chosen == installed(theirs), "apt took other packages than our resolver"
        ours, tools = make_ours(source, packages, {DEFAULT: Decision("sandbox")} if policy else None)
        differences = (each for each in compare(ours, theirs, canonical) if each.path not in console.paths)
        found = list(_but_same_code(differences, ours, theirs, tools))
    rest, counts, stale = explain(found, chosen.keys(), ours)
    return Report(
        len(packages), len({p for tree in (ours, theirs) for p, _ in tree.walk()}), tuple(rest), counts, tuple(stale)
    )


def _but_same_code(found: Iterable[Difference], ours: Tree, theirs: Tree, tools: Tools) -> Iterator[Difference]:
    """All differences but those of bytecode that is equal once it is loaded.

    The flags that say which object of a file is used again depend on the process that wrote it (CPython's
    ``marshal.c``, ``FLAG_REF``), so the same code has more than one form.
    """
    for difference in found:
        if difference.what == "content" and difference.path.endswith(".pyc"):
            with tempfile.TemporaryDirectory(prefix="build-os-oracle-") as scratch:
                paths = (Path(scratch) / "ours", Path(scratch) / "theirs")
                for path, tree in zip(paths, (ours, theirs), strict=True):
                    path.write_bytes(tree.read(difference.path))
                if tools.run("python3", "-I", "-c", SAME_CODE, *paths) == "same":
                    continue
        yield difference
