"""A layer of a container image laid over a tree.

The rules are those of the OCI image-spec, "Image Layer Filesystem Changeset"; the format is tar with the PAX
and GNU extensions that writers of layers use. A layer is hostile input: what readers could understand
differently is refused, nothing is extracted to a directory, and content stays where it is in the store.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.tree.node import EMPTY, Content, Kind, Node, Slice
from builder.tree.sparse import PREFIX, REPEATED, SparseFiles, parse_old_map, parse_pax_map
from builder.tree.tar_headers import (
    BLOCK,
    GNU_LINK,
    GNU_NAME,
    GNU_SPARSE,
    HARD_LINK,
    KINDS,
    MAX_EXTENSION,
    MAX_ID,
    PAX,
    PAX_GLOBAL,
    TarError,
    check_sum,
    read_decimal,
    read_link,
    read_name,
    read_number,
    read_records,
)
from builder.tree.tree import Tree, TreeError, get_parent, normalise_path

MAX_ENTRIES = 1_000_000  # of a layer, and of the tree it makes
MAX_PATH = 4096  # PATH_MAX, limits.h
MAX_MAJOR, MAX_MINOR = 2**12 - 1, 2**20 - 1  # linux/kdev_t.h

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"

XATTR = b"SCHILY.xattr."
# What we read, and what says nothing about the file. Any other key is refused: it could change the meaning.
PAX_KEYS = {b"path", b"linkpath", b"uid", b"gid", b"size", b"mtime"}
PAX_IGNORED = {b"atime", b"ctime", b"comment", b"uname", b"gname", b"charset", b"hdrcharset", b"RHT.security.selinux"}
PAX_IGNORED_PREFIXES = (
    b"LIBARCHIVE.",  # its attributes are in SCHILY's form as well
    b"MSWINDOWS.",
    b"SCHILY.acl.",
    b"SCHILY.dev",
    b"SCHILY.fflags",
    b"SCHILY.ino",
    b"SCHILY.nlink",
)


@dataclass(frozen=True, slots=True)
class LayerMember:
    """One member, checked: a node at a path, or a hard link to another path (``link`` is set)."""

    path: str
    node: Node
    link: str = ""


def read_layer(tree: Tree, pack: Path, *, origin: str) -> Tree:
    """The tree with a layer over it.

    Whiteouts hide only what is in ``tree``, never what the layer brings, wherever in the tar they stand.

    Args:
        pack: the uncompressed layer, which stays where it is as long as the tree is used.
        origin: who is to be named for the entries, such as ``container:web``.

    Raises:
        TreeError: the tar is damaged, or says what no honest layer says.
        OSError: ``pack`` cannot be read.
    """
    hidden: set[str] = set()
    opaque: set[str] = set()
    replaced: set[str] = set()  # links of the tree where the layer has something else: nothing is reached through them
    kept: list[LayerMember] = []

    def is_new(directory: str) -> bool:
        """Whether the layer has a directory of its own in place of a link there or above."""
        names = directory.split("/")
        ways = ("/".join(names[:count]) for count in range(2, len(names) + 1)) if replaced else ()
        return any(tree.resolve(way, follow_last=False) in replaced for way in ways)

    def hide(path: str) -> None:
        hidden.add(path)
        node = tree.get(path)
        if node is not None and node.kind is Kind.SYMLINK:
            replaced.add(path)

    with SparseFiles(pack.with_name(f"{pack.name}.sparse")) as sparse:
        for member in read_members(pack, origin=origin, sparse=sparse):
            directory, name = get_parent(member.path), member.path.rpartition("/")[2]
            is_whiteout = name.startswith(WHITEOUT)
            if not is_whiteout:
                kept.append(member)
            if is_new(directory):
                continue
            if name == OPAQUE:
                opaque.add(tree.resolve(directory))
            elif is_whiteout:
                hide(normalise_path(f"{tree.resolve(directory)}/{name.removeprefix(WHITEOUT)}"))
            else:
                old = tree.get(member.path)
                if old is None or member.path == "/":
                    continue
                where = tree.resolve(member.path, follow_last=False)
                if old.kind is Kind.SYMLINK and member.node.target != old.target:
                    replaced.add(where)
                elif old.kind is Kind.DIRECTORY and (member.link or member.node.kind is not Kind.DIRECTORY):
                    hidden.add(where)
    result = _without(tree, hidden, opaque)
    for member in kept:
        put_member(result, member, lower=tree)
        if len(result) > MAX_ENTRIES:
            raise TreeError(f"{origin}: the image has more than {MAX_ENTRIES} entries")
    return result


def _without(tree: Tree, hidden: set[str], opaque: set[str]) -> Tree:
    """The tree without what whiteouts name; one walk, because a layer may name a million paths."""
    nodes: dict[str, Node] = {}
    for path, node in tree.walk():
        parent = get_parent(path)
        if path == "/" or (parent in nodes and parent not in opaque and path not in hidden):
            nodes[path] = node
    return Tree(nodes)


def put_member(tree: Tree, member: LayerMember, *, lower: Tree | None = None) -> None:
    """Put a member into the tree, a hard link as the file that it leads to.

    Args:
        lower: what the layer is laid over. A link may lead to a file of it that a whiteout of the layer hides: so a
            renamed file looks.

    Raises:
        TreeError: it cannot be there, or links to nothing.
    """
    node = member.node
    if member.link:
        target = tree.get(member.link)
        if target is None and lower is not None:
            target = lower.get(member.link)
        if target is None or target.kind is Kind.DIRECTORY:
            raise TreeError(f"{node.origin}: {member.path} is a hard link to {member.link}, which is no file")
        if tree.resolve(member.path, follow_last=False) == tree.resolve(member.link, follow_last=False):
            raise TreeError(f"{node.origin}: {member.path} is a hard link to itself")
        node = target
    tree.put(member.path, node)


def read_members(
    pack: Path, *, origin: str, what: str = "layer member", sparse: SparseFiles | None = None
) -> Iterator[LayerMember]:
    """The members of an uncompressed tar file, whiteouts as the files they are.

    Args:
        what: a member is called in messages.
        sparse: where sparse files go; they are refused if there is no place for them.

    Raises:
        TreeError: as :func:`read_layer`.
    """
    with pack.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(file.fileno(), size, str(pack), origin, what, sparse)
        yield from reader.read_members()


class _Reader:
    def __init__(
        self, descriptor: int, size: int, pack: str, origin: str, what: str, sparse: SparseFiles | None
    ) -> None:
        self._descriptor = descriptor
        self._size = size
        self._pack = pack
        self._origin = origin
        self._what = what
        self._sparse = sparse
        # PAX records of one sparse member that may be there more than once.
        self._repeated: list[tuple[bytes, bytes]] = []
        self._offset = 0
        self._count = 0

    def read_members(self) -> Iterator[LayerMember]:
        try:
            yield from self._members()
        except TarError as error:
            raise self._bad(str(error)) from error

    def _members(self) -> Iterator[LayerMember]:
        extra: dict[bytes, bytes] = {}
        # Writers that leave the two blocks of zeros at the end away are read by all: the digest says that nothing is
        # missing.
        while self._offset < self._size and (head := self._read(BLOCK)).strip(b"\0"):
            self._count += 1
            if self._count > MAX_ENTRIES:
                raise self._bad(f"more than {MAX_ENTRIES} members")
            check_sum(head)
            kind = head[156:157]
            if kind in (PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK):
                self._extend(extra, kind, self._extension(head))
                continue
            yield self._member(head, kind, extra)
            extra = {}
            self._repeated = []
        if extra:
            raise self._bad("the archive ends after an extended header")

    def _member(self, head: bytes, kind: bytes, extra: dict[bytes, bytes]) -> LayerMember:
        name = extra.get(PREFIX + b"name") or extra.get(b"path") or read_name(head)
        link = extra.get(b"linkpath") or read_link(head)
        length = read_decimal("size", extra[b"size"]) if b"size" in extra else read_number(head[124:136])
        uid = read_decimal("uid", extra[b"uid"]) if b"uid" in extra else read_number(head[108:116])
        gid = read_decimal("gid", extra[b"gid"]) if b"gid" in extra else read_number(head[116:124])
        if b"mtime" in extra:
            mtime = read_decimal("mtime", extra[b"mtime"], is_time=True)
        else:
            mtime = read_number(head[136:148], signed=True)
        if uid > MAX_ID or gid > MAX_ID:
            raise self._bad(f"owner {uid}:{gid} is out of range", name)
        is_directory = KINDS.get(kind) is Kind.DIRECTORY or (kind in b"\x000" and name.endswith(b"/"))
        path = self._path(name, is_directory=is_directory)
        mode = read_number(head[100:108]) & 0o7777
        is_sparse = kind == GNU_SPARSE or any(key.startswith(PREFIX) for key in extra) or bool(self._repeated)
        if is_sparse and (is_directory or kind not in (GNU_SPARSE, b"0", b"\0")):
            raise self._bad("is sparse although it is no regular file", name)
        if kind not in (HARD_LINK, GNU_SPARSE) and kind not in KINDS:
            raise self._bad(f"type {kind!r} is not supported", name)
        what = Kind.DIRECTORY if is_directory else KINDS.get(kind, Kind.FILE)
        if length and (what is not Kind.FILE or kind == HARD_LINK):
            raise self._bad("has content although it is no regular file", name)
        if what is Kind.SYMLINK and not link:
            raise self._bad("is a symbolic link to nowhere", name)
        content = self._sparse_content(head, kind, extra, length, name) if is_sparse else self._content(length, name)
        node = Node(
            what,
            mode,
            uid,
            gid,
            content=content,
            target=link.decode(errors="surrogateescape") if what is Kind.SYMLINK else "",
            device=self._device(head, name) if what in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
            mtime=mtime,
            origin=self._origin,
            xattrs=self._xattrs(extra, name),
        )
        if kind != HARD_LINK:
            return LayerMember(path, node)
        return LayerMember(path, node, self._path(link, is_directory=False))

    def _content(self, length: int, name: bytes) -> Content:
        offset = self._offset
        self._skip(length, name)
        return Slice(self._pack, offset, length) if length else EMPTY

    def _sparse_content(self, head: bytes, kind: bytes, extra: dict[bytes, bytes], length: int, name: bytes) -> Content:
        old = parse_old_map(head, lambda: self._read(BLOCK)) if kind == GNU_SPARSE else None
        start = self._offset
        self._skip(length, name)

        def read(offset: int, count: int) -> bytes:
            return os.pread(self._descriptor, max(0, min(count, length - offset)), start + offset)

        sparse_map = old or parse_pax_map(extra, self._repeated, read)
        if self._sparse is None:
            raise self._bad("is a sparse file", name)
        if sparse_map.start + sum(size for _, size in sparse_map.pieces) != length:
            raise self._bad("stores another number of bytes than its sparse map says", name)
        return self._sparse.add(sparse_map, self._descriptor, start + sparse_map.start)

    def _path(self, name: bytes, *, is_directory: bool) -> str:
        if not name or len(name) > MAX_PATH:
            raise self._bad("has no name, or one that is too long", name[:100])
        try:
            path = normalise_path(name.decode(errors="surrogateescape"))
        except TreeError as error:
            raise self._bad("leaves the image, or is no path", name) from error
        if path == "/" and not is_directory:
            raise self._bad("would replace the root of the image", name)
        *directories, last = path[1:].split("/")
        if any(part.startswith(WHITEOUT) for part in directories) or (
            last.startswith(WHITEOUT)
            and (is_directory or (last != OPAQUE and not _is_whiteout(last.removeprefix(WHITEOUT))))
        ):
            raise self._bad("is no whiteout that the image-spec knows", name)
        return path

    def _device(self, head: bytes, name: bytes) -> tuple[int, int]:
        device = read_number(head[329:337]), read_number(head[337:345])
        if device == (0, 0):
            # To overlayfs this is a whiteout, so it would delete a file of the host's choice of lower layer.
            raise self._bad("is device 0:0, which overlay file systems take for a whiteout", name)
        if device[0] > MAX_MAJOR or device[1] > MAX_MINOR:
            raise self._bad(f"is device {device[0]}:{device[1]}, which cannot exist", name)
        return device

    def _xattrs(self, extra: dict[bytes, bytes], name: bytes) -> tuple[tuple[str, bytes], ...]:
        xattrs = []
        for key, value in extra.items():
            if key.startswith(XATTR):
                attribute = key.removeprefix(XATTR).decode(errors="surrogateescape")
                if attribute.startswith(("trusted.overlay.", "user.overlay.")):
                    raise self._bad(f"has {attribute}, which is overlayfs's own", name)
                if not attribute or "\0" in attribute or len(attribute) > 255 or len(value) > 65536:
                    raise self._bad("has an extended attribute that cannot exist", name)
                xattrs.append((attribute, value))
        return tuple(sorted(xattrs))

    def _extend(self, extra: dict[bytes, bytes], kind: bytes, data: bytes) -> None:
        if kind in (GNU_NAME, GNU_LINK):
            extra[b"path" if kind == GNU_NAME else b"linkpath"] = data.partition(b"\0")[0]
            return
        for key, value in read_records(data.rstrip(b"\0")):
            if key in PAX_IGNORED or key.startswith(PAX_IGNORED_PREFIXES):
                continue
            if kind == PAX_GLOBAL or not (key in PAX_KEYS or key.startswith((XATTR, PREFIX))):
                # Readers disagree about global headers; what we do not know may change the meaning.
                raise self._bad(f"PAX key {key.decode(errors='replace')[:60]!r} is not supported")
            if key in REPEATED:
                self._repeated.append((key, value))
                continue
            extra[key] = value

    def _extension(self, head: bytes) -> bytes:
        length = read_number(head[124:136])
        if length > MAX_EXTENSION:
            raise self._bad("an extended header that is too long")
        offset = self._offset
        self._skip(length, b"")
        return os.pread(self._descriptor, length, offset)

    def _skip(self, length: int, name: bytes) -> None:
        if length > self._size - self._offset:
            raise self._bad("is longer than the archive", name)
        self._offset += length + -length % BLOCK

    def _read(self, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._offset)
        if len(data) < count:
            raise self._bad("the archive is cut short")
        self._offset += count
        return data

    def _bad(self, problem: str, name: bytes = b"") -> TreeError:
        which = f" {name.decode(errors='replace')[:200]!r}" if name else ""
        return TreeError(f"{self._origin}: {self._what} {self._count}{which}: {problem}")


def _is_whiteout(victim: str) -> bool:
    """Whether ``.wh.VICTIM`` names a sibling: not ``.``, ``..``, nothing, or another of AUFS's own files."""
    return victim not in ("", ".", "..") and not victim.startswith(WHITEOUT)
