"""Packs become a tree, laid out as dpkg would have done it, without touching a disk.

Source for what wins where two packages meet: dpkg's ``tarobject()`` (``src/main/archives.c``) and Debian Policy
7.6. In short: what is a directory stays as it is, whether another package brings the directory too or a link; a
link to a directory stays where another package has the directory itself; a file of two packages is an error
unless one ``Replaces`` the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.store import Store
from builder.debian.control import Relation, parse_relations
from builder.debian.deb import DebError
from builder.debian.lock import LockedPackage
from builder.debian.pack import DamagedBlob, Pack, Unsettled, settle, unpack
from builder.debian.tarmembers import PackageMember
from builder.debian.version import is_satisfied
from builder.tree.node import EMPTY, Kind, Node, Slice
from builder.tree.tree import Tree, TreeError

# It ships the links of a merged /usr (bin -> usr/bin), through which all others go.
FIRST = ("base-files",)


def unpack_all(
    packages: Sequence[LockedPackage],
    store: Store,
    console: Console,
    *,
    jobs: int,
    refetch: Callable[[LockedPackage], None] | None = None,
    verify: bool = True,
) -> list[Pack]:
    """The packs of these packages, in their order, made where they are missing; all of them on the disk.

    Threads, because decompression leaves Python's lock; ``jobs`` is how many. ``refetch`` is called for a
    deb that turns out to be damaged in the store, once, before it is an error.

    Raises:
        SourceError, CapabilityError: see :func:`builder.debian.pack.unpack`.
    """
    total = sum(package.size for package in packages)
    guard, done = threading.Lock(), 0
    unsettled: list[Unsettled] = []

    def one(package: LockedPackage) -> Pack:
        nonlocal done
        try:
            pack = unpack(store, package, verify=verify, console=console, unsettled=unsettled)
        except DamagedBlob as error:
            if refetch is None:
                raise
            console.warn(f"{error.what}; fetching it again")
            refetch(package)
            pack = unpack(store, package, verify=verify, console=console, unsettled=unsettled)
        with guard:
            done += package.size
        console.report_progress(done, total, "B")
        return pack

    with ThreadPoolExecutor(jobs) as pool:
        # The largest first: a kernel begun last would be waited for alone.
        order = sorted(range(len(packages)), key=lambda i: -packages[i].size)
        futures = {index: pool.submit(one, packages[index]) for index in order}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for future in futures.values():
            if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                raise error
    settle(store, unsettled)
    return [futures[index].result() for index in range(len(packages))]


def unpack_tree(
    packs: Iterable[Pack], tree: Tree | None = None, diversions: Mapping[str, tuple[str, str]] | None = None
) -> Tree:
    """All files of all packages, in a new tree or added to the given one.

    The result does not depend on the order of ``packs``. Every node's origin is ``package:NAME``.

    Args:
        diversions: path -> (where it goes instead, the package whose own file stays), dpkg-divert(1).

    Raises:
        DebError: a package has something where it cannot be.
        InputError: two packages have the same file and neither replaces the other; a package is there twice.
    """
    result = Tree() if tree is None else tree
    by_name: dict[str, Pack] = {}
    for pack in packs:
        if by_name.setdefault(pack.name, pack) is not pack:
            raise InputError(f"{pack.name} is there twice, and one image can have it once")
    for pack in sorted(by_name.values(), key=lambda p: (p.name not in FIRST, p.name)):
        try:
            _Layer(result, pack, by_name, diversions or {}).put()
        except TreeError as error:
            raise DebError(f"{pack.name} {pack.package.version}: {error.what}") from error
    return result


class _Layer:
    """One package on its way into the tree."""

    def __init__(
        self, tree: Tree, pack: Pack, packs: dict[str, Pack], diversions: Mapping[str, tuple[str, str]]
    ) -> None:
        self._tree = tree
        self._pack = pack
        self._packs = packs
        self._diverted = {path: to for path, (to, package) in diversions.items() if package != pack.name}
        self._origin = f"package:{pack.name}"
        self._tar = str(pack.tar)

    def put(self) -> None:
        """Add all members."""
        tree = self._tree
        for member in self._pack.members:
            if member.path in self._diverted:
                member = member._replace(path=self._diverted[member.path])
            old = tree.get(member.path)
            if old is not None and self._stays(member.path, old, member):
                continue
            tree.put(member.path, self._node(member))

    def _node(self, member: PackageMember) -> Node:
        kind = member.kind
        content = Slice(self._tar, member.offset, member.size) if kind is Kind.FILE else EMPTY
        mode = 0o777 if kind is Kind.SYMLINK else member.mode
        return Node(
            kind,
            mode,
            member.uid,
            member.gid,
            content,
            member.target,
            member.device,
            member.mtime,
            self._origin,
        )

    def _stays(self, path: str, old: Node, member: PackageMember) -> bool:
        """Whether what is there stays and the member is passed over."""
        if member.kind is Kind.DIRECTORY:
            there = self._tree.get(path, follow=True)
            if there is not None and there.kind is Kind.DIRECTORY:
                # What the tree made by itself (its root) has no say against a package.
                return old.kind is Kind.SYMLINK or not old.origin.startswith("stage:")
        elif member.kind is Kind.SYMLINK and (
            old.kind is Kind.DIRECTORY or (old.kind is Kind.SYMLINK and old.target == member.target)
        ):
            return True
        return self._other_wins(path, old)

    def _other_wins(self, path: str, old: Node) -> bool:
        name = old.origin.removeprefix("package:")
        other = self._packs.get(name)
        if other is None or other is self._pack or can_overwrite(self._pack, other):
            return False
        if can_overwrite(other, self._pack):
            return True
        raise InputError(
            f"{self._pack.name} and {name} both have {path}",
            details=(f"{self._pack.name} {self._pack.package.version}", f"{name} {other.package.version}"),
            hint="only one of them can be in the image",
        )


def can_overwrite(one: Pack, other: Pack) -> bool:
    """Whether a package may overwrite another's files: its ``Replaces`` names it, or what it provides.

    Source: Debian Policy 7.6.1.
    """
    names = {other.name: other.package.version}
    for group in parse_relations(other.control.get("Provides", "")):
        names.setdefault(group[0].name, group[0].version)
    return any(
        relation.name in names and _fits(names[relation.name], relation)
        for group in parse_relations(one.control.get("Replaces", ""))
        for relation in group
    )


def _fits(version: str, relation: Relation) -> bool:
    """Whether a version, empty if a name is provided without one, fulfils a relation."""
    if not relation.operator:
        return True
    return bool(version) and is_satisfied(version, relation.operator, relation.version)
