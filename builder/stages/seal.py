"""The last stage: what cannot change, what can, and nothing that differs between two builds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import ClassVar

from builder.stages.stage import Context
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, get_parent

ORIGIN = "stage:seal"
# The root is read-only; what users of a machine may write is below /var. The same places as in Fedora CoreOS.
MOVED = (
    ("/home", "var/home"),
    ("/root", "var/roothome"),
    ("/opt", "var/opt"),
    ("/srv", "var/srv"),
    ("/mnt", "var/mnt"),
    ("/media", "var/media"),
    ("/usr/local", "../var/usrlocal"),
)
ROOT_HOME_MODE = 0o700
MOUNT_POINTS = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/efi", "/boot")
# Accounts are declared in the first-boot config, so nobody needs to change one as an ordinary user; every program that
# runs with other rights than its caller's is a door. What stays: su, mount, umount, newuidmap, newgidmap, unix_chkpwd.
UNPRIVILEGED = (
    "/usr/bin/chage",
    "/usr/bin/chfn",
    "/usr/bin/chsh",
    "/usr/bin/expiry",
    "/usr/bin/gpasswd",
    "/usr/bin/newgrp",
    "/usr/bin/passwd",
    "/usr/bin/ssh-agent",
    "/usr/lib/openssh/ssh-keysign",
)
# The record of packages is the image's, not the machine's. It lies where rpm's does on such systems; on the machine
# var-lib-dpkg.mount shows it at its own place.
DATABASE = "/var/lib/dpkg"
RECORD = "/usr/lib/sysimage/dpkg"
FACTORY = "/usr/share/factory"
TMPFILES = "/usr/lib/tmpfiles.d"
OURS = f"{TMPFILES}/zz-image.conf"


@dataclass(frozen=True)
class Seal:
    """Move what is writable, turn ``/var`` into declarations, drop what is not wanted, clamp all times.

    Attributes:
        remove: globs of paths that are left out of the image (``*`` crosses ``/``).
        keep: globs of paths that stay although ``remove`` matches.
        epoch: no time in the image is later than this (seconds since 1970).
    """

    name: ClassVar[str] = "seal"
    checkpoint: ClassVar[bool] = True

    remove: tuple[str, ...]
    keep: tuple[str, ...]
    epoch: int

    def apply(self, tree: Tree, context: Context) -> Tree:  # noqa: ARG002 - every stage has the same door
        """The finished root."""
        keep_kernel(tree)
        for path in UNPRIVILEGED:
            if path in tree:
                tree.change(path, mode=tree.require(path, follow=False).mode & 0o777)
        remove_matching(tree, self.remove, self.keep)
        database = take_database(tree)
        move_writable(tree)
        declare_var(tree)
        for path in MOUNT_POINTS:
            # What packages put below these would be hidden by the mount.
            if path not in ("/boot", "/efi"):
                tree.remove(path)
            if path not in tree:
                tree.put(path, make_directory(0o1777 if path == "/tmp" else 0o755, origin=ORIGIN))
        for path, node in database:
            tree.put(path, node)
        late = {path: node.copy_with(mtime=self.epoch) for path, node in tree.walk() if node.mtime > self.epoch}
        return Tree(dict(tree.walk()) | late)


def keep_kernel(tree: Tree) -> None:
    """Move ``/boot/vmlinuz-RELEASE`` beside its modules, where UAPI.5 wants it and removal does not reach it."""
    if "/boot" not in tree:
        return
    for name in tree.list_children("/boot"):
        release = name.removeprefix("vmlinuz-")
        if release != name and f"/usr/lib/modules/{release}" in tree:
            tree.put(f"/usr/lib/modules/{release}/vmlinuz", tree.require(f"/boot/{name}"))
            tree.remove(f"/boot/{name}")


def remove_matching(tree: Tree, remove: Iterable[str], keep: Iterable[str]) -> None:
    """Drop the files that match, then the directories that this left empty."""
    matches, stays = _matcher(remove), _matcher(keep)
    gone = {p for p, n in tree.walk() if n.kind is not Kind.DIRECTORY and matches(p) and not stays(p)}
    left = Counter(get_parent(path) for path, _ in tree.walk())
    pending = list(gone)
    while pending:
        parent = get_parent(pending.pop())
        left[parent] -= 1
        if not left[parent] and parent != "/":
            gone.add(parent)
            pending.append(parent)
    tree.discard(gone)


def _matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path matches one of the globs: one compiled expression for all of them."""
    patterns = [translate(glob) for glob in globs]
    if not patterns:
        return lambda _: False
    expression = re.compile("|".join(patterns))
    return lambda path: expression.match(path) is not None


def take_database(tree: Tree) -> list[tuple[str, Node]]:
    """Take dpkg's database out of the tree; returns it twice, for :data:`RECORD` and for its own place.

    There it is hidden on the machine, by what is mounted at ``/var``. Who looks at the image from outside finds it.
    """
    database = list(tree.walk(DATABASE))
    tree.discard({path for path, _ in database})
    copies = [(f"{RECORD}{path.removeprefix(DATABASE)}", node) for path, node in database]
    return copies + database


def move_writable(tree: Tree) -> None:
    """Turn ``/home``, ``/root`` and the like into links to places below ``/var``, content and all."""
    for path, target in MOVED:
        node = tree.get(path)
        if node is not None and node.kind is Kind.SYMLINK:
            continue
        where = "/var/" + target.rpartition("var/")[2]
        mode = ROOT_HOME_MODE if path == "/root" else 0o755
        tree.put(where, (node or make_directory(origin=ORIGIN)).copy_with(mode=mode))
        if node is not None:
            for child, entry in list(tree.walk(path)):
                if child != path:
                    tree.put(where + child.removeprefix(path), entry)
            tree.remove(path)
        tree.put(path, make_symlink(target, origin=ORIGIN))
    redirect_tmpfiles(tree)


def redirect_tmpfiles(tree: Tree) -> None:
    """Let ``tmpfiles.d(5)`` lines for a moved directory speak of its new place; a link there would be a warning."""
    moved = {path: "/var/" + target.rpartition("var/")[2] for path, target in MOVED}
    for name in tree.list_children(TMPFILES) if TMPFILES in tree else ():
        path = f"{TMPFILES}/{name}"
        lines = tree.read_text(path).splitlines()
        changed = []
        for line in lines:
            words = line.split(maxsplit=2)
            if len(words) > 1 and words[1] in moved and not line.startswith("#"):
                line = " ".join([words[0], moved[words[1]], *words[2:]])
            changed.append(line)
        if changed != lines:
            content = make_file("\n".join(changed) + "\n", origin=ORIGIN).content
            tree.put(path, tree.require(path).copy_with(content=content))


def declare_var(tree: Tree) -> None:
    """``/var`` starts empty on every machine: what packages put there becomes ``tmpfiles.d(5)`` lines.

    Directories and links are made anew; files are copied from ``/usr/share/factory``, where none but root may write
    them: the mode they get is that of their line. A path that some package's own tmpfiles.d speaks for is left to it.
    """
    spoken_for = set(_declared(tree))
    lines = ["# What the image's packages have in /var. Written by build-os."]
    moved: list[tuple[str, Node]] = []
    for path, node in tree.walk("/var"):
        if path == "/var":
            continue
        name = quote_word(path)
        owner = f"{node.mode:04o} {node.uid} {node.gid}"
        match node.kind:
            case Kind.DIRECTORY if path not in spoken_for:
                lines.append(f"d {name} {owner} - -")
            case Kind.SYMLINK if path not in spoken_for:
                lines.append(f"L {name} - - - - {quote_field(node.target)}")
            case Kind.FILE:
                moved.append((f"{FACTORY}{path}", node.copy_with(mode=node.mode & ~0o022)))
                if path not in spoken_for:
                    lines.append(f"C {name} {owner} - {FACTORY}{quote_field(path)}")
            case _:
                pass
    for path, node in moved:
        tree.put(path, node)
    tree.put(OURS, make_file("\n".join(lines) + "\n", origin=ORIGIN))


def quote_field(text: str) -> str:
    """As ``tmpfiles.d(5)`` reads its last field: C escapes and specifiers are resolved, quotes are not."""
    return text.replace("\\", "\\\\").replace("%", "%%").replace("\n", "\\n")


def quote_word(path: str) -> str:
    """As ``tmpfiles.d(5)`` reads the other fields: what is no word by itself stands in quotes."""
    if not set(path) & set(" \t\"'"):
        return quote_field(path)
    return '"' + quote_field(path).replace('"', '\\"') + '"'


def _declared(tree: Tree) -> Iterable[str]:
    if TMPFILES not in tree:
        return
    for name in tree.list_children(TMPFILES):
        for line in tree.read_text(f"{TMPFILES}/{name}").splitlines():
            words = line.split()
            if len(words) > 1 and not line.startswith("#"):
                # /var/run and /run are one, and so on: only the plain spelling counts.
                yield words[1].rstrip("/")
