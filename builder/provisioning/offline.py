"""What the shadow package's programs and systemctl do to a directory, done by ourselves.

``config apply --root`` is for containers and tests: it must work for an ordinary user, who can neither chroot nor give
files away, and must not depend on what this machine has installed. Options are those that :mod:`firstboot.apply` uses.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from collections.abc import Callable, Iterator, Sequence

from firstboot.apply.programs import ProgramError, Programs
from firstboot.apply.root import Root
from firstboot.apply.units import UNIT_PATH
from firstboot.config.account_files import add_member, find_row, format_rows, parse_rows, remove_member
from firstboot.config.checks.units import UNIT_DIRECTORY
from firstboot.config.unit_text import BadUnit, parse_options

# login.defs(5) as Debian has it.
FIRST_ID, LAST_ID = 1000, 60000
FIRST_SYSTEM_ID, LAST_SYSTEM_ID = 100, 999
SUBORDINATE_IDS = 65536
SHELL = "/bin/sh"
_DIRECTORIES = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}


class OfflinePrograms(Programs):
    """Starts nothing: ``useradd`` and its kin, and ``systemctl``, for one root."""

    root: Root

    @classmethod
    def make(cls, root: Root) -> OfflinePrograms:
        """For this root."""
        programs = cls()
        programs.root = root
        return programs

    def find(self, name: str) -> str | None:
        """Whether we can do what it does."""
        return name if name in (*_COMMANDS, "systemctl", "sync") else None

    def run_for_status(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:  # noqa: ARG002 - as the door has it
        """Do it; returns 0, or 1 and what is wrong."""
        name = argv[0]
        if name == "systemctl":
            _, _, verb, _, *units = argv
            return _systemctl(self.root, verb, units)
        if name == "sync":
            return _sync([word for word in argv[1:] if not word.startswith("-")])
        if name not in _COMMANDS:
            raise ProgramError(f"{name} is not something that can be done to a directory")
        try:
            _COMMANDS[name](self.root, _arguments(argv[1:]))
        except (LookupError, ValueError) as error:
            return 1, f"{name}: {error}\n"
        return 0, ""


def _sync(paths: Sequence[str]) -> tuple[int, str]:
    """syncfs(2): that something could not be written is told."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd) != 0:
                return 1, f"{path}: {os.strerror(ctypes.get_errno())}\n"
        finally:
            os.close(fd)
    return 0, ""


# --- accounts ---


class Table:
    """A file of lines with colons below ``/etc``."""

    def __init__(self, root: Root, name: str, mode: int = 0o644) -> None:
        self._root, self._path, self._mode = root, f"/etc/{name}", mode
        seen = root.see(self._path)
        text = root.read(self._path).decode("utf-8", "surrogateescape") if seen.stat is not None else ""
        if seen.stat is not None:
            self._mode = seen.stat.st_mode & 0o7777
        self.rows = parse_rows(text)

    def find(self, name: str) -> list[str] | None:
        """The row of a name."""
        return find_row(self.rows, name)

    def require(self, name: str) -> list[str]:
        """The row of a name.

        Raises:
            LookupError
        """
        row = self.find(name)
        if row is None:
            raise LookupError(f"'{name}' is not in {self._path}")
        return row

    def remove(self, name: str) -> None:
        """Take a name out."""
        self.rows = [row for row in self.rows if row[0] != name]

    def save(self) -> None:
        """Write the file, with the mode that it had."""
        text = format_rows(self.rows)
        self._root.write(self._path, text.encode("utf-8", "surrogateescape"), mode=self._mode)

    def choose_free_id(self, *, system: bool, wanted: int | None = None) -> int:
        """A number that nobody has."""
        taken = {int(row[2]) for row in self.rows if len(row) > 2 and row[2].isdigit()}
        if wanted is not None and wanted not in taken:
            return wanted
        numbers = range(LAST_SYSTEM_ID, FIRST_SYSTEM_ID - 1, -1) if system else range(FIRST_ID, LAST_ID + 1)
        return next(number for number in numbers if number not in taken)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("name")
    for option in ("root", "home-dir", "home", "password", "comment", "gid", "uid", "groups", "shell"):
        parser.add_argument(f"--{option}")
    flags = ("move-home", "create-home", "no-create-home", "no-user-group", "system", "no-log-init", "remove")
    for option in flags:
        parser.add_argument(f"--{option}", action="store_true")
    return parser.parse_args(words)


def _groupadd(root: Root, options: argparse.Namespace, wanted: int | None = None) -> int:
    groups, secrets = Table(root, "group"), Table(root, "gshadow", 0o640)
    if groups.find(options.name) is not None:
        raise ValueError(f"group '{options.name}' exists already")
    if options.gid is not None and any(row[2] == options.gid for row in groups.rows if len(row) > 2):
        raise ValueError(f"GID '{options.gid}' already exists")
    gid = int(options.gid) if options.gid is not None else groups.choose_free_id(system=options.system, wanted=wanted)
    groups.rows.append([options.name, "x", str(gid), ""])
    secrets.rows.append([options.name, options.password or "!", "", ""])
    groups.save()
    secrets.save()
    return gid


def _groupmod(root: Root, options: argparse.Namespace) -> None:
    groups, secrets = Table(root, "group"), Table(root, "gshadow", 0o640)
    row = groups.require(options.name)
    row[2] = options.gid or row[2]
    secret = secrets.find(options.name)
    if options.password is not None and secret is not None:
        secret[1] = options.password
    groups.save()
    secrets.save()


def _groupdel(root: Root, options: argparse.Namespace) -> None:
    for table in (Table(root, "group"), Table(root, "gshadow", 0o640)):
        table.remove(options.name)
        table.save()


def _useradd(root: Root, options: argparse.Namespace) -> None:
    users, secrets = Table(root, "passwd"), Table(root, "shadow", 0o640)
    if users.find(options.name) is not None:
        raise ValueError(f"user '{options.name}' already exists")
    if options.uid is not None and any(row[2] == options.uid for row in users.rows if len(row) > 2):
        raise ValueError(f"UID {options.uid} is not unique")
    uid = int(options.uid) if options.uid is not None else users.choose_free_id(system=options.system)
    if options.gid is not None:
        gid = _gid(root, options.gid)
    elif options.no_user_group:
        gid = 100  # GROUP= of /etc/default/useradd
    else:
        own = argparse.Namespace(name=options.name, gid=None, password=None, system=options.system)
        gid = _groupadd(root, own, wanted=uid)
    defaults = _defaults(root)
    home = options.home_dir or f"{defaults.get('HOME', '/home')}/{options.name}"
    shell = options.shell or defaults.get("SHELL", SHELL)
    users.rows.append([options.name, "x", str(uid), str(gid), options.comment or "", home, shell])
    ageing = ["", "", ""] if options.system else ["0", "99999", "7"]
    # No day of the last change, as for the image's own accounts: the same config makes the same bits on any day.
    secrets.rows.append([options.name, options.password or "!", "", *ageing, "", "", ""])
    users.save()
    secrets.save()
    _join(root, options.name, options.groups)
    if not options.system:
        _subordinate(root, options.name)
    if options.create_home and not root.has(home):
        root.make_directory(home, 0o700, uid=uid, gid=gid)
        _copy_skeleton(root, home, uid, gid)


def _usermod(root: Root, options: argparse.Namespace) -> None:
    users, secrets = Table(root, "passwd"), Table(root, "shadow", 0o640)
    row = users.require(options.name)
    row[2] = options.uid or row[2]
    row[3] = str(_gid(root, options.gid)) if options.gid is not None else row[3]
    row[4] = row[4] if options.comment is None else options.comment
    row[6] = options.shell or row[6]
    if options.home is not None and options.home != row[5]:
        if root.has(row[5]):
            raise ValueError("a home that is there cannot be moved in a directory; move it by hand")
        row[5] = options.home
    secret = secrets.find(options.name)
    if options.password is not None and secret is not None:
        secret[1] = options.password
    users.save()
    secrets.save()
    if options.groups is not None:
        _join(root, options.name, options.groups)


def _userdel(root: Root, options: argparse.Namespace) -> None:
    users = Table(root, "passwd")
    row = users.require(options.name)
    for table in (users, Table(root, "shadow", 0o640)):
        table.remove(options.name)
        table.save()
    _join(root, options.name, "")
    groups = Table(root, "group")
    own = groups.find(options.name)
    if own is not None and not own[3]:
        _groupdel(root, options)
    if options.remove and row[5] not in ("", "/"):
        root.remove(row[5])


_COMMANDS: dict[str, Callable[[Root, argparse.Namespace], object]] = {
    "groupadd": _groupadd,
    "groupmod": _groupmod,
    "groupdel": _groupdel,
    "useradd": _useradd,
    "usermod": _usermod,
    "userdel": _userdel,
}


def _gid(root: Root, group: str) -> int:
    row = Table(root, "group").find(group)
    return int(group if row is None else row[2])


def _join(root: Root, name: str, groups: str | None) -> None:
    """Be in these groups, and in no other."""
    wanted = [group for group in (groups or "").split(",") if group]
    for table in (Table(root, "group"), Table(root, "gshadow", 0o640)):
        for row in table.rows:
            remove_member(row, name)
            if any(field in wanted for field in (row[0], *row[2:3])):
                add_member(row, name)
        table.save()


def _defaults(root: Root) -> dict[str, str]:
    """``/etc/default/useradd``."""
    try:
        lines = root.read("/etc/default/useradd").decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def _subordinate(root: Root, name: str) -> None:
    """Ids for containers, where the root keeps a list of them (subuid(5))."""
    for file in ("subuid", "subgid"):
        if root.has(f"/etc/{file}"):
            table = Table(root, file)
            ends = [int(row[1]) + int(row[2]) for row in table.rows if len(row) == 3]
            if table.find(name) is None:
                table.rows.append([name, str(max([100_000, *ends])), str(SUBORDINATE_IDS)])
                table.save()


def _copy_skeleton(root: Root, home: str, uid: int, gid: int) -> None:
    """The files of ``/etc/skel`` that Debian has there."""
    for name in (".bashrc", ".profile", ".bash_logout"):
        if root.see(f"/etc/skel/{name}").is_file:
            root.write(f"{home}/{name}", root.read(f"/etc/skel/{name}"), mode=0o644, uid=uid, gid=gid)


# --- units ---


def _systemctl(root: Root, verb: str, units: Sequence[str]) -> tuple[int, str]:
    said = []
    for unit in units:
        links = [*_links(root, unit)]
        there = [path for path, _ in links if root.see(path).target is not None]
        match verb:
            case "is-enabled":
                return (0, "enabled\n") if there else (1, "disabled\n")
            case "enable":
                if not links:
                    said.append(f"{unit} has no [Install] section that says what starts it\n")
                for path, target in links:
                    root.remove(path)
                    root.make_symlink(path, target)
            case "disable":
                for path in there:
                    root.remove(path)
            case _:
                raise AssertionError(verb)
    return 0, "".join(said)


def _links(root: Root, unit: str) -> Iterator[tuple[str, str]]:
    """The links that enabling makes, and where they lead (systemd.unit(5), "[Install] Section Options")."""
    placed = _find_unit(root, unit)
    if placed is None:
        return
    path, text = placed
    instance = unit.partition("@")[2].rpartition(".")[0]
    try:
        settings = parse_options(text)
    except BadUnit:
        return
    for section, name, value in settings:
        if section != "Install":
            continue
        for other in value.split():
            if name in _DIRECTORIES:
                yield f"{UNIT_DIRECTORY}/{_filled(other, instance)}.{_DIRECTORIES[name]}/{unit}", path
            elif name == "Alias":
                yield f"{UNIT_DIRECTORY}/{_filled(other, instance)}", path


def _filled(name: str, instance: str) -> str:
    return name.replace("%i", instance).replace("%I", instance)


def _find_unit(root: Root, unit: str) -> tuple[str, str] | None:
    stem, at, rest = unit.partition("@")
    names = [unit, f"{stem}@.{rest.rpartition('.')[2]}"] if at else [unit]
    for name in names:
        for directory in UNIT_PATH:
            path = f"{directory}/{name}"
            if root.see(path).is_file:
                return path, root.read(path).decode("utf-8", "replace")
    return None
