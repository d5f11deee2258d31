"""What a script sees and changes: the tree, through one door that keeps a record and can be undone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from builder.debian.scripts import machine_values
from builder.debian.scripts.effects import Effect, EffectKind
from builder.debian.scripts.state import State
from builder.tree.node import Inline, Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree, TreeError, get_parent

# Stands in a text for what only a running machine could say.
UNKNOWN = machine_values.UNKNOWN
# File systems of a running machine: there is nothing in them while an image is made, and scripts know that.
NOT_OURS = re.compile(r"/(proc|sys|dev)(/|\Z)")
SCRATCH = re.compile(r"/tmp/|/var/tmp/|/run/|/var/cache/debconf/|/var/lib/dpkg/")
SWEPT = re.compile(r"/(tmp|var/tmp|run)/(?!lock\Z)")
LOG = re.compile(r"/var/log/")
# The origin of what stands for a file that every machine makes for itself: see TargetSystem.leave_to_machine.
OWN = "machine:"
DEVICES = frozenset(("/dev/null", "/dev/zero", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty"))
# What is different whenever it is read.
RANDOM = frozenset(("/dev/random", "/dev/urandom", "/proc/sys/kernel/random/uuid"))
MAX_CONTENT = 4 << 20
MAX_OWN = 16 << 10  # bytes of a file that each machine writes with something of its own in it
OF_FILES = frozenset(EffectKind[name] for name in ("FILE", "DIRECTORY", "REMOVE", "MODE", "OWNER", "LINK", "MOVE"))
Mark = tuple[int, int]


class NotModelled(Exception):
    """A command, or a way to use one, that we have no model of. The text says what."""


@dataclass(frozen=True)
class Installation:
    """What is the same for all scripts of an image.

    Attributes:
        versions: of the packages in the image, by name.
        answers: to debconf's questions, by the definition.
        excluded: packages that count as installed and are not in the image.
    """

    arch: str
    versions: Mapping[str, str]
    answers: Mapping[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()


def copy_node(node: Node) -> Node:
    """A node that is a file of its own: two with one slice of the store would be one file with two names."""
    if node.kind is not Kind.FILE or node.size > MAX_CONTENT:
        return node
    return require_known(node).copy_with(content=Inline(node.content.read()))


def require_known(node: Node) -> Node:
    """The node.

    Raises:
        NotModelled: it is a file of the script's own with something in it that only a running machine knows.
    """
    if (
        node.kind is Kind.FILE
        and isinstance(node.content, Inline)
        and not node.origin.startswith(OWN)
        and UNKNOWN.encode() in node.content.read()
    ):
        raise NotModelled("a file is copied whose content only a running machine knows")
    return node


class TargetSystem:
    """A tree as the scripts of one package find it.

    Attributes:
        journal: the effects so far, in order.
        state: of the shell that is at work: its umask and owner are those of what is made.
        hidden: an origin whose files are not there yet: those of the package, while its preinst runs.
    """

    def __init__(self, tree: Tree, installation: Installation, package: str, *, hidden: str = "") -> None:
        self.tree = tree
        self.installation = installation
        self.package = package
        self.hidden = hidden
        self.state = State()
        self.journal: list[Effect] = []
        self.origin = f"package:{package}"
        self._told = 0
        self._used: dict[str, str] = {}  # where what a machine says only once is used
        self._undo: list[tuple[str, Node | None]] = []

    # --- looking -----------------------------------------------------------------------------------

    def get(self, path: str, *, follow: bool = True) -> Node | None:
        """What is at a path.

        Raises:
            NotModelled: that depends on what only a running machine knows.
        """
        if ("path", path) in self.state.shared.unclear:
            raise NotModelled(f"what is at {path} depends on what only a running machine knows")
        try:
            node = self.tree.get(path, follow=follow)
        except TreeError:
            return None
        if path in self.state.shared.made:
            return node
        if node is not None and node.origin == self.hidden and self.hidden:
            # The links of a merged /usr are there before the package that owns them.
            return node if path.count("/") == 1 or self._is_others(path, node) else None
        return node

    def _is_others(self, path: str, node: Node) -> bool:
        """Whether a directory has something in it that is not the hidden package's."""
        if node.kind is not Kind.DIRECTORY:
            return False
        below = self.tree.walk(self.tree.resolve(path))
        return any(node.origin != self.hidden or where in self.state.shared.made for where, node in below)

    def read(self, path: str) -> str | None:
        """A file's text; ``None`` if there is none, and :data:`UNKNOWN` for what a running machine makes.

        Raises:
            NotModelled: it is too large for a script's variable.
        """
        if NOT_OURS.match(path):
            if path.startswith("/sys/"):
                return None  # scripts look there for what runs, and nothing does
            if path in RANDOM:
                return self.ask_machine(f"cat {path}")
            return "" if path in DEVICES else UNKNOWN
        node = self.get(path)
        if node is None or node.kind is not Kind.FILE:
            return None
        if node.size > MAX_CONTENT:
            raise NotModelled(f"{path} is too large to be read by a script")
        return node.content.read().decode(errors="surrogateescape")

    def list_children(self, path: str) -> list[str]:
        """The names in a directory."""
        try:
            return [n for n in self.tree.list_children(path) if self.get(f"{path}/{n}", follow=False) is not None]
        except TreeError:
            return []

    def walk(self, path: str) -> Iterator[tuple[str, Node]]:
        """All at and below a path, no link followed but the last."""
        return iter(list(self.tree.walk(self.tree.resolve(path))))

    def ask_machine(self, command: str, of: str = "") -> str:
        """What a command of the machine says.

        Args:
            of: what it reads, if the machine says that as well.

        Raises:
            NotModelled: that is used elsewhere, and would be another one there.
        """
        self._told += 1
        self._use(of, f"|{self._told}")
        return machine_values.make_value(command, self._told)

    def _use(self, text: str, where: str) -> None:
        once = machine_values.find_changing_parts(text)
        if {self._used.get(part, where) for part in once} - {where}:
            raise NotModelled("what the machine says once is used in two places")
        self._used |= dict.fromkeys(once, where)

    # --- changing ----------------------------------------------------------------------------------

    def record(self, kind: EffectKind, name: str, detail: str = "", *data: object) -> None:
        """Record an effect."""
        if not (kind in OF_FILES and SCRATCH.match(name)):
            self.journal.append(Effect(kind, name, detail, data))

    def put(self, path: str, node: Node) -> None:
        """Set what is at a path.

        Raises:
            NotModelled: nothing can be there.
        """
        if NOT_OURS.match(path):
            raise NotModelled(f"{path} belongs to a running machine")
        if UNKNOWN in path:
            raise NotModelled("a path that is not known")
        try:
            where = self.tree.resolve(path, follow_last=False)
            missing = [where]
            while missing[-1] != "/" and get_parent(missing[-1]) not in self.tree:
                missing.append(get_parent(missing[-1]))
            self._undo.extend((parent, self.tree.get(parent)) for parent in reversed(missing))
            if self.state.owner != (0, 0):
                node = node.copy_with(uid=self.state.owner[0], gid=self.state.owner[1])
            where = self.tree.put(path, node)
            self.state.shared.made.add(where)
            self.state.shared.unclear -= {("path", where), ("path", path)}
        except TreeError as error:
            raise NotModelled(error.what) from error

    def write(self, path: str, text: str, *, append: bool = False) -> None:
        """Write a file, through links, keeping the mode and owner of one that is there."""
        if path in DEVICES:
            return
        where = self.tree.resolve(path)
        if UNKNOWN in text and LOG.match(where):
            self.record(EffectKind.DROPPED, where, "a log of the installation")
            return
        old = self.get(where)
        before = (self.read(where) or "") if append else ""
        if UNKNOWN in before + text and not SWEPT.match(where):
            self._write_on_machine(where, before + text, old)
            return
        new = (before + text).encode(errors="surrogateescape")
        if old is not None and old.kind is Kind.FILE:
            if old.content.size == len(new) and old.content.read() == new:
                return
            self.put(where, old.copy_with(content=make_file(new, origin="").content, origin=self.origin))
        else:
            self.put(where, make_file(new, self.apply_umask(0o666), origin=self.origin))
        self.record(EffectKind.FILE, where)

    def read_unfinished(self, path: str) -> str | None:
        """The text of a file in ``/tmp`` that has something in it which only the machine says."""
        node = self.get(path)
        if node is None or not SWEPT.match(path) or node.origin.startswith(OWN) or not isinstance(node.content, Inline):
            return None
        text = node.content.read().decode(errors="surrogateescape")
        return text if machine_values.find_command(text) is not None else None

    def _write_on_machine(self, path: str, text: str, old: Node | None) -> None:
        """Leave a file to the machine that has something in it which only the machine says.

        Raises:
            NotModelled: it is not known how the machine comes to it, or the file is not the script's own.
        """
        command = machine_values.find_command(text)
        own = old is None or path in self.state.shared.made
        if command is None or not own or len(text) > MAX_OWN:
            raise NotModelled(f"what would be written to {path} is not known")
        self._use(text, path)
        node = make_file(text.encode(errors="surrogateescape"), self.apply_umask(0o666), origin=OWN + self.package)
        self.put(path, node if old is None else old.copy_with(content=node.content, origin=node.origin))
        detail = f"{command} >{shlex.quote(path)}"
        self.record(EffectKind.OWN_DATA, path, detail, detail, (path,), ())

    def apply_umask(self, mode: int) -> int:
        """The mode that something gets when it is made with this one.

        Raises:
            NotModelled: the umask is not known.
        """
        if self.state.umask is None:
            raise NotModelled("the umask depends on what only a running machine knows")
        return mode & ~self.state.umask & 0o7777

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and missing parents."""
        where = self.tree.resolve(path)
        there = self.tree.get(where)
        if there is None:
            self.put(where, make_directory(mode, origin=self.origin))
            self.record(EffectKind.DIRECTORY, where, f"mode {mode:04o}")
        elif there.origin == self.hidden and there.kind is Kind.DIRECTORY:
            self.state.shared.made.add(where)  # a preinst makes what the package brings, which is not there yet

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, replacing what is there."""
        old = self.get(path, follow=False)
        if old is not None and old.kind is Kind.SYMLINK and old.target == target:
            return
        self.put(path, make_symlink(target, origin=self.origin))
        self.record(EffectKind.LINK, path, f"to {target}")

    def change(self, path: str, kind: EffectKind, detail: str, *, follow: bool = True, **changes: object) -> None:
        """Change the mode or owner of what is at a path: of what a last link leads to, or of that link."""
        where = self.tree.resolve(path, follow_last=follow)
        node = self.tree.get(where, follow=follow)
        if node is None:
            raise NotModelled(f"there is no {path}")
        new = node.copy_with(**changes)
        if new != node:
            self._undo.append((where, node))
            self.tree.change(where, **changes)
            self.record(kind, where, detail)

    def remove(self, path: str) -> None:
        """Remove a path and all below it; nothing happens if it is not there."""
        where = self.tree.resolve(path, follow_last=False)
        if where == "/" or self.get(where, follow=False) is None:
            return
        self._undo.extend(reversed(list(self.tree.walk(where))))
        self.tree.remove(where)
        self.record(EffectKind.REMOVE, where)

    def leave_to_machine(self, command: str, *paths: str, units: tuple[str, ...] = ()) -> None:
        """What a command makes must not be in an image: all its machines would share it. Each runs the command itself.

        Until all scripts are evaluated something stands in its place, which nobody can read, and whose owner and mode
        scripts may change.

        Args:
            paths: of files, or with a slash at the end of directories; ``/*`` at the end names what the command puts
                into a directory that is there, for whom it is of interest.
            units: of systemd, which need it; those of the package, if none is named.
        """
        origin = OWN + self.package
        for path in (path for path in paths if not path.endswith("*")):
            node = make_directory(origin=origin) if path.endswith("/") else make_file(UNKNOWN, 0o600, origin=origin)
            self.put(path.rstrip("/"), node)
        made = tuple(path.rstrip("/") for path in paths)
        self.record(EffectKind.OWN_DATA, " ".join(made), command, command, made, units)

    def move(self, source: str, target: str) -> None:
        """Rename."""
        where = self.tree.resolve(source, follow_last=False)
        if (text := self.read_unfinished(where)) is not None:
            self.write(target, text)
            self.remove(where)
            return
        entries = [(path, require_known(node)) for path, node in self.tree.walk(where)]
        if entries and entries[0][1].origin.startswith(OWN):
            command = shlex.join(["mv", where, target])
            self.record(EffectKind.OWN_DATA, target, command, command, (target,), ())
        self._undo.extend(reversed(entries))
        self.tree.remove(where)
        for path, node in entries:
            self.put(target + path[len(where) :], node)
        self.record(EffectKind.MOVE, where, f"to {target}")

    def sweep(self) -> None:
        """Remove what a script leaves in ``/tmp`` and ``/run``: it would be gone at the first boot."""
        for path, before in self._undo:
            if before is None and SWEPT.match(path):
                self.tree.remove(path)

    # --- going back --------------------------------------------------------------------------------

    def mark(self) -> Mark:
        """Where we are, for :meth:`undo_to`."""
        return len(self.journal), len(self._undo)

    def find_changes(self, mark: Mark) -> dict[str, Node | None]:
        """What is at each path that has changed since a mark."""
        before: dict[str, Node | None] = {}
        for path, node in self._undo[mark[1] :]:
            before.setdefault(path, node)
        now = {path: self.tree.get(path) for path in before}
        return {path: node for path, node in now.items() if node != before[path]}

    def undo_to(self, mark: Mark) -> None:
        """Undo all since a mark that was done to files. The state is the caller's."""
        del self.journal[mark[0] :]
        while len(self._undo) > mark[1]:
            path, node = self._undo.pop()
            if node is None:
                self.tree.remove(path)
            elif node.kind is Kind.DIRECTORY or self.tree.get(path) is None:
                self.tree.put(path, node)
            else:
                self.tree.remove(path)
                self.tree.put(path, node)


def join_path(directory_path: str, path: str) -> str:
    """A path as seen from a directory, with ``.`` and doubled slashes gone."""
    if not path.startswith("/"):
        path = f"{directory_path}/{path}"
    return str(PurePosixPath("/", path.lstrip("/"))) if ".." not in path else _normal(path)


def _normal(path: str) -> str:
    done: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            done.append(part)
    return "/" + "/".join(done)
