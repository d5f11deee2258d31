"""The sugar of ``variant: buildos`` made into files, links, units and users, for the user's own config to override.

Each kind of it has a file of its own with functions that take a :class:`SugarOutput`. Imported only for documents that
have any.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from firstboot.config.checks.nodes import check_path, clean
from firstboot.config.explain import describe_kind
from firstboot.config.lazy import import_lazily
from firstboot.config.model import Model
from firstboot.config.models import Config, Directory, Dropin, File, Link, Node, Owner, Storage, Systemd, Unit, User
from firstboot.config.origins import GeneratedFrom, Origins
from firstboot.config.text import Located, Path, Problem

if TYPE_CHECKING:
    from firstboot.config.archive import Archive
    from firstboot.config.buildos import encryption
    from firstboot.config.buildos.models import Secret
    from firstboot.config.butane import trees
    from firstboot.config.butane.draft import Draft
else:
    encryption = import_lazily("firstboot.config.buildos.encryption")
    trees = import_lazily("firstboot.config.butane.trees")

M = TypeVar("M", bound=Model)
N = TypeVar("N", bound=Node)
ROOT = Owner()


class SugarOutput:
    """What sugar has become so far.

    Attributes:
        config: the user's own, which wins.
        surroundings: what compiling needs besides.
        secrets: those of the document that are as they should be, by name.
        stored: names of the secrets whose values are in what was made.
    """

    def __init__(self, draft: Draft) -> None:
        self.config: Config = draft.config
        self.surroundings = draft.surroundings
        self.secrets: dict[str, Secret] = {}
        self.stored: set[str] = set()
        self._draft = draft
        self._directories: list[Directory] = []
        self._files: list[File] = []
        self._links: list[Link] = []
        self._archives: list[Archive] = []
        self._units: list[Unit] = []
        self._taken: set[str] = set()
        self._entries: dict[Path, tuple[Located | GeneratedFrom | Origins, Path]] = {(): draft.make_origin(())}

    # --- what the document says ---

    def find_text(self, name: str) -> str | None:
        """A setting of the document that is one text."""
        value = self._draft.extras.get((name,))
        if value is None or isinstance(value, str):
            return value
        self.complain((name,), f"expected text, found {describe_kind(value)}")
        return None

    def list_texts(self, name: str) -> tuple[tuple[Path, str], ...]:
        """A setting that is a list of texts, each with its place."""
        value = self._draft.extras.get((name,), [])
        if not isinstance(value, list):
            self.complain((name,), f"expected a list, found {describe_kind(value)}")
            return ()
        texts: list[tuple[Path, str]] = []
        for index, item in enumerate(value):
            if isinstance(item, str):
                texts.append(((name, index), item))
            else:
                self.complain((name, index), f"expected text, found {describe_kind(item)}")
        return tuple(texts)

    def list_pairs(self, name: str) -> dict[str, str]:
        """A setting that is names with values."""
        value = self._draft.extras.get((name,), {})
        if not isinstance(value, dict):
            self.complain((name,), f"expected a mapping (key: value), found {describe_kind(value)}")
            return {}
        for key, item in value.items():
            if not isinstance(item, str):
                self.complain((name, key), f"expected text, found {describe_kind(item)}")
        return {key: item for key, item in value.items() if isinstance(item, str)}

    def find_part(self, model: type[M], path: Path) -> M | None:
        """A setting that is a mapping; ``None`` if there is none, or it is wrong, which has been said then."""
        value = self._draft.extras.get(path)
        return None if value is None else self._draft.find(model, path, value)

    def list_parts(self, model: type[M], *path: str | int) -> Iterator[tuple[Path, M]]:
        """A setting that is a list of mappings, each with its place."""
        yield from self._draft.list_elements(model, path)

    def list_users(self, name: str) -> Iterator[tuple[Path, User, Any]]:
        """The users that have a setting: its place, the user, what it says."""
        for path, value in self._draft.extras.items():
            if path[:2] == ("passwd", "users") and path[3:] == (name,) and isinstance(path[2], int):
                users = self.config.passwd.users
                if path[2] < len(users):
                    yield path, users[path[2]], value

    def list_nodes(self, name: str) -> Iterator[tuple[Path, Node]]:
        """The files, directories and links that have a setting, and its place."""
        for path in self._draft.extras:
            if path[:1] == ("storage",) and path[3:] == (name,) and isinstance(path[2], int):
                nodes = getattr(self.config.storage, str(path[1]))
                if path[2] < len(nodes):
                    yield path, nodes[path[2]]

    # --- what it becomes ---

    def add_file(
        self,
        path: str,
        contents: str | bytes,
        at: Path,
        *,
        mode: int = 0o644,
        user: Owner = ROOT,
        group: Owner = ROOT,
    ) -> None:
        """Write a file, in place of what the image has there."""
        if not self.claim(path, at):
            return
        data = contents.encode("utf-8", "surrogatepass") if isinstance(contents, str) else contents
        file = trees.make_file(path, mode, data, self.surroundings.encode)
        self._entries[("storage", "files", len(self._files))] = self._draft.make_origin(at)
        self._files.append(file.model_copy(update={"overwrite": True, "user": user, "group": group}))

    def add_directory(self, path: str, at: Path, *, mode: int = 0o755, user: Owner = ROOT, group: Owner = ROOT) -> None:
        """Make a directory, unless the user's own config or other sugar does."""
        if path in self._taken or any(directory.path == path for directory in self.config.storage.directories):
            return
        self._taken.add(path)
        self._entries[("storage", "directories", len(self._directories))] = self._draft.make_origin(at)
        self._directories.append(Directory(path=path, mode=mode, user=user, group=group))

    def find_directory(self, path: str) -> Directory | None:
        """The directory that sugar makes there."""
        return next((directory for directory in self._directories if directory.path == path), None)

    def add_link(self, path: str, target: str, at: Path, *, user: Owner = ROOT, group: Owner = ROOT) -> None:
        """Make a symbolic link."""
        if self.claim(path, at):
            self._entries[("storage", "links", len(self._links))] = self._draft.make_origin(at)
            self._links.append(Link(path=path, target=target, overwrite=True, user=user, group=group))

    def add_archive(self, archive: Archive, at: Path) -> None:
        """Have the machine unpack something."""
        self._entries[("storage", "archives", len(self._archives))] = self._draft.make_origin(at)
        self._archives.append(archive)

    def add_unit(self, name: str, contents: str, at: Path, *, enabled: bool | None = True) -> None:
        """Write a unit."""
        if self.claim(name, at):
            self._entries[("systemd", "units", len(self._units))] = self._draft.make_origin(at)
            self._units.append(Unit(name=name, contents=contents, enabled=enabled))

    def add_drop_in(self, unit: str, name: str, contents: str, at: Path) -> None:
        """Add to a unit that the image has, and have it start."""
        if self.claim(unit, at):
            self._entries[("systemd", "units", len(self._units))] = self._draft.make_origin(at)
            self._units.append(Unit(name=unit, enabled=True, dropins=(Dropin(name=name, contents=contents),)))

    def has(self, path: str) -> bool:
        """Whether sugar has made something there."""
        return path in self._taken

    @property
    def complaints(self) -> int:
        """How many there are."""
        return len(self._draft.problems)

    def complain(self, path: Path, message: str, hint: str | None = None, *, on_key: bool = False) -> None:
        """Say what is wrong at a place."""
        self._draft.problems.append(Problem(path, message, hint, on_key=on_key))

    def warn(self, path: Path, message: str, hint: str) -> None:
        """Say what is allowed, and seldom meant."""
        self._draft.problems.append(Problem(path, message, hint, "warning"))

    def is_path(self, path: str, at: Path) -> bool:
        """Whether it is an absolute path in its simplest form that units can name; complains if not."""
        problems = list(check_path(path, at))
        if not problems and any(char in "\"'\\" or ord(char) < ord(" ") for char in path):
            # At the end of a line a backslash would take the next one with it.
            problems.append(Problem(at, "the path has a quote, a backslash or a control character in it"))
        self._draft.problems += problems
        return not problems

    def claim(self, what: str, at: Path) -> bool:
        """Have a path or the name of a unit for oneself; complains if other sugar has it."""
        if what in self._taken:
            self.complain(at, f"something else in this config already makes '{what}'", "give it another name")
            return False
        self._taken.add(what)
        return True

    def finish(self) -> None:
        """Merge the user's config over what was made."""
        storage = Storage(
            archives=(*self._archives,), directories=(*self._directories,), files=(*self._files,), links=(*self._links,)
        )
        systemd = Systemd(units=(*self._units,))
        self._draft.merge_under(Config(storage=storage, systemd=systemd), Origins(self._entries))


# Which settings are made by which function of which module here, in an order in which each finds what it needs.
MAKERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("secrets",), "staging", "add_secrets"),
    (("locale", "keymap", "ntp_servers", "sysctl", "kernel_modules"), "system", "configure_system"),
    (("swap_file",), "system", "make_swap_file"),
    (("network",), "network", "configure_network"),
    # What the user says of directories comes before what units of users need.
    (("parents",), "people", "add_parents"),
    (("sudo", "linger", "units"), "people", "configure_users"),
    (("archives",), "archives", "unpack_archives"),
    (("apps",), "apps", "configure_apps"),
    (("containers",), "containers", "make_containers"),
    (("python_apps",), "python_apps", "make_python_apps"),
    (("recovery_key",), "recovery_key", "configure_recovery_key"),
    (("health_checks",), "health", "make_health_checks"),
    (("updates",), "updates", "write_settings"),
)


def make(draft: Draft) -> None:
    """Make all sugar of ``variant: buildos`` but fragments."""
    if draft.config.storage.luks:
        encryption.bind_to_firmware(draft)
    given = {path[-1] for path in draft.extras}
    output = SugarOutput(draft)
    for names, module, function in MAKERS:
        if not given.isdisjoint(names):
            getattr(import_module(f"firstboot.config.buildos.{module}"), function)(output)
    output.finish()
    draft.secrets |= output.stored


def is_below(path: str, directory: str) -> bool:
    """Whether a path is below a directory."""
    return clean(path).startswith(directory.rstrip("/") + "/")
