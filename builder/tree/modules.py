"""Kernel modules and what they depend on, by the index that ``depmod`` makes."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.suggest import make_suggestion
from builder.core.tools import Tools
from builder.tree.materialise import materialise
from builder.tree.node import Node, make_file
from builder.tree.tree import Tree, TreeError

# Bytes that a module may unpack to; far more than any has.
MAX_MODULE = 256 << 20


def find_kernel_release(tree: Tree) -> str:
    """The release of the only kernel in the tree.

    Raises:
        TreeError: there is none, or more than one.
    """
    releases = tree.list_children("/usr/lib/modules") if tree.get("/usr/lib/modules") is not None else []
    releases = [r for r in releases if tree.get(f"/usr/lib/modules/{r}/modules.dep") is not None]
    if len(releases) != 1:
        raise TreeError(f"an image has one kernel; this one has {', '.join(releases) or 'none'}")
    return releases[0]


def index_modules(tree: Tree, tools: Tools, scratch: Path, *, origin: str) -> None:
    """Write ``modules.dep`` and its like for every kernel in the tree, by ``depmod``.

    Raises:
        ToolError: a module is damaged.
    """
    if tree.get("/usr/lib/modules", follow=True) is None:
        return
    for release in tree.list_children("/usr/lib/modules"):
        base = f"/usr/lib/modules/{release}"
        with tempfile.TemporaryDirectory(dir=scratch, prefix="modules-") as root:
            part = materialise(tree, Path(root), [base])
            tools.run("depmod", "-b", part.root, release)
            part.absorb(tree, origin=origin, below=base)


def parse_module_name(path: str) -> str:
    """``kernel/drivers/block/virtio-blk.ko.xz`` as ``virtio_blk``."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


@dataclass(frozen=True)
class Modules:
    """A kernel's modules, as its index has them.

    Attributes:
        base: ``/usr/lib/modules/RELEASE``.
        paths: name -> path below ``base``. ``-`` in names is ``_``.
        needs: path -> paths of what is loaded before it.
        asked_for: names that some alias stands for, which are not only loaded because others need them.
    """

    base: str
    paths: Mapping[str, str]
    needs: Mapping[str, Sequence[str]]
    asked_for: frozenset[str] = frozenset()

    def find_needed(self, wanted: Iterable[str]) -> set[str]:
        """Paths of the wanted modules and of what they need. Names built into the kernel, or unknown, are left out."""
        result: set[str] = set()
        pending = [self.paths[name] for name in (w.replace("-", "_") for w in wanted) if name in self.paths]
        while pending:
            path = pending.pop()
            if path not in result:
                result.add(path)
                pending.extend(self.needs.get(path, ()))
        return result


def read_modules(tree: Tree, release: str) -> Modules:
    """What ``depmod`` has found out about a kernel's modules.

    Raises:
        TreeError: it was not run.
    """
    base = f"/usr/lib/modules/{release}"
    paths: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for line in tree.read_text(f"{base}/modules.dep").splitlines():
        path, _, rest = line.partition(":")
        paths[parse_module_name(path)] = path
        needs[path] = rest.split()
    for line in tree.read_text(f"{base}/modules.softdep").splitlines():
        words = line.replace("-", "_").split()  # both spellings are in use
        if len(words) > 3 and words[0] == "softdep" and words[2] == "pre:" and words[1] in paths:
            needs[paths[words[1]]] += [paths[name] for name in words[3:] if name in paths]
    aliases = tree.read_text(f"{base}/modules.alias").splitlines() if f"{base}/modules.alias" in tree else []
    asked_for = frozenset(line.rpartition(" ")[2].replace("-", "_") for line in aliases if line.startswith("alias "))
    return Modules(base, paths, needs, asked_for)


def find_modules(tree: Tree, release: str, wanted: Iterable[str]) -> list[str]:
    """Paths of the wanted modules and their dependencies. Names built into the kernel, or unknown, are left out."""
    modules = read_modules(tree, release)
    return [f"{modules.base}/{path}" for path in sorted(modules.find_needed(wanted))]


def require_known(tree: Tree, release: str, names: Iterable[str]) -> None:
    """Every name must be a module of this kernel, or built into it.

    Raises:
        TreeError: says which is not.
    """
    base = f"/usr/lib/modules/{release}"
    known = {parse_module_name(line.partition(":")[0]) for line in tree.read_text(f"{base}/modules.dep").splitlines()}
    known |= {parse_module_name(line) for line in tree.read_text(f"{base}/modules.builtin").splitlines()}
    for name in names:
        if name.replace("-", "_") not in known:
            raise TreeError(f"kernel {release} has no module {name}{make_suggestion(name.replace('-', '_'), known)}")


def decompress_module(path: str, node: Node) -> tuple[str, Node]:
    """A module without its ``.xz``; all else is as it was.

    Raises:
        TreeError: it is broken, or unpacks to more than any module has.
    """
    if not path.endswith(".ko.xz"):
        return path, node
    xz = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_MODULE)
    try:
        data = xz.decompress(node.content.read(), MAX_MODULE)
    except (lzma.LZMAError, EOFError) as error:
        raise TreeError(f"{path} cannot be decompressed: {error}") from error
    if not xz.eof:
        raise TreeError(f"{path} is cut short, or unpacks to more than {MAX_MODULE} bytes")
    return path.removesuffix(".xz"), make_file(data, node.mode, origin=node.origin)
