"""The root file system: one EROFS image of the whole tree, and the dm-verity hash tree over it.

The image is written in parts, always: first what packages brought, then what was assembled of containers and wheels if
there is any, then the rest onto it. All but the last are nearly all of the bytes and seldom change, so they can be
kept; the image is the same whether they were or not.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import termios
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import ToolError
from builder.core.sparse import copy_blocks
from builder.core.tools import Tools
from builder.outputs.hash_tree import Known, write_hash_tree
from builder.tree.node import Kind, Node, make_directory
from builder.tree.tar import write_tar
from builder.tree.tree import Tree, get_parent

# mkfs.erofs(1) -z and -C; measured in docs/performance.md. Larger clusters read less well at random.
CLUSTER = "-C65536"
ZSTD_LEVEL = 3
LZ4HC_LEVEL = 9
# What ends a stream that broke off: mkfs.erofs must not take it for a whole one.
NO_TAR = b"\xff" * 512
# Of each part but the last, the origins of what is in it: what packages brought, or a handler made of it; then what is
# assembled of other packages and of wheels.
KEPT = (("package:", "stage:packages"), ("container:", "wheel:", "environment:"))
ORIGIN = "output:root"
NAMESPACE = uuid.UUID("c8d0a6a6-6f0b-4b34-9e0c-8f6f0c8f2b2d")


@dataclass(frozen=True)
class Root:
    """A root image that is sealed: any changed bit is found when it is read.

    Attributes:
        roothash: hex; the first and last 128 bits are the partitions' UUIDs (UAPI.2 Discoverable Partitions).
    """

    image: Path
    hash_tree: Path
    roothash: str

    @property
    def data_uuid(self) -> uuid.UUID:
        """Of the root partition."""
        return uuid.UUID(self.roothash[:32])

    @property
    def hash_uuid(self) -> uuid.UUID:
        """Of the verity partition."""
        return uuid.UUID(self.roothash[-32:])


def make_stable_uuid(*parts: str) -> uuid.UUID:
    """A UUID that depends on its arguments alone."""
    return uuid.uuid5(NAMESPACE, "\0".join(parts))


def make_compression_arguments(compression: str, level: int | None) -> tuple[str, ...]:
    """mkfs.erofs's words for an algorithm."""
    if compression == "zstd":
        return (f"-zzstd,level={level or ZSTD_LEVEL}", CLUSTER)
    if compression == "lz4hc":
        return (f"-zlz4hc,level={level or LZ4HC_LEVEL}", CLUSTER)
    return (f"-z{compression}", CLUSTER)


def split(tree: Tree) -> tuple[list[Tree], Tree]:
    """The parts of a root that are kept, in their order, and what is written onto them.

    The kept ones have no directories but those on the way to their files, and nothing of those but their names; the
    last has all of them, as they are to be.
    """
    way = make_directory(origin=ORIGIN)
    parts: list[dict[str, Node]] = [{"/": way} for _ in KEPT]
    rest = {}
    for path, node in tree.walk():
        index = next((i for i, origins in enumerate(KEPT) if node.origin.startswith(origins)), None)
        if node.kind is Kind.DIRECTORY or index is None:
            rest[path] = node
            continue
        part = parts[index]
        part[path] = node
        while (path := get_parent(path)) not in part:
            part[path] = way
    return [Tree(part) for part in parts if len(part) > 1], Tree(rest)


def make_erofs(
    tree: Tree,
    tools: Tools,
    out: Path,
    *,
    compression: str,
    name: str,
    level: int | None = None,
    onto: Path | None = None,
) -> None:
    """Stream the tree as tar into mkfs.erofs through a named pipe: no file is unpacked, no owner is needed.

    Args:
        onto: an image of the same name and compression whose content comes first; where both have a path, the tree's
            is the one that counts.

    Raises:
        ToolError: mkfs.erofs failed.
        OSError: content is gone from the store.
    """
    # A named pipe, because mkfs.erofs resolves the path of its source and then finds no /proc/self/fd/N.
    pipe = out.with_suffix(".pipe")
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    failure: list[BaseException] = []
    # Whoever opens a named pipe waits for the other side. So that nobody waits for one who has failed, or has come and
    # gone: we hold a reader of our own until mkfs.erofs has ended, and the writer until mkfs.erofs has read everything.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    ended = threading.Event()

    def feed() -> None:
        # When mkfs.erofs ends early the pipe breaks; its own message says why.
        with suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
            try:
                write_tar(tree, stream)
            except BrokenPipeError:
                raise
            except BaseException as error:
                failure.append(error)
                stream.write(NO_TAR)
            stream.flush()
            while not ended.is_set() and _unread(writer):
                ended.wait(0.01)

    thread = threading.Thread(target=feed, name="tar", daemon=True)
    thread.start()
    try:
        words = ["--quiet", "--tar=f", "-T0", f"-U{make_stable_uuid('root', name)}"]
        if onto is not None:
            copy_blocks(onto, out)
            words.append("--incremental=data")
        tools.run("mkfs.erofs", *words, *make_compression_arguments(compression, level), out, pipe)
    except ToolError:
        if not failure:
            raise  # otherwise the tar stream broke off, and what mkfs.erofs says of that is beside the point
    finally:
        ended.set()
        os.close(reader)
        thread.join()
        pipe.unlink(missing_ok=True)
    if failure:
        raise failure[0]


def _unread(pipe: int) -> int:
    """Bytes that wait in a pipe (FIONREAD, pipe(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def make_verity(image: Path, out: Path, *, name: str, known: Known | None = None) -> str:
    """Write the hash tree; returns the root hash. Salt and UUID follow from the name, so the bits repeat.

    Args:
        known: an image of the same name, with its tree, that this one was written onto.
    """
    salt = hashlib.sha256(f"verity {name}".encode()).digest()
    return write_hash_tree(image, out, salt=salt, uuid=make_stable_uuid("verity", name), known=known)
