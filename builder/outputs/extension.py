"""What an extension has: all that a system with it has, and the system alone has not.

Both are built, and compared path by path. So what maintainer scripts did, links of alternatives and units that start by
themselves are in the extension wherever it can have them. It has ``/usr`` alone, and what belongs elsewhere is made on
the machine by its ``sysusers.d(5)`` and ``tmpfiles.d(5)``. What the system has already and would have to be otherwise
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builder.core.architecture import require_architecture
from builder.core.errors import InputError
from builder.definition.extensions import ResolvedExtension
from builder.definition.model import ExtensionType
from builder.stages.identity import OS_RELEASE, make_level
from builder.stages.seal import FACTORY, quote_field, quote_word, remove_matching
from builder.stages.seal import OURS as SYSTEM_TMPFILES
from builder.tree.node import Kind, Node, make_file, make_symlink
from builder.tree.tree import Tree, get_parent
from firstboot.config.account_files import MEMBERS, NUMBER, Row, find_row, list_members, parse_rows

ORIGIN = "output:extension"
# The system's own, written anew with every package: what they say of an extension, its bill of materials says, or its
# units, users and lines of tmpfiles.d.
RECORDS = (
    "/etc/ld.so.cache",
    "/usr/lib/build-os/image.json",
    "/usr/lib/systemd/system-preset/10-image.preset",
    "/usr/lib/systemd/system-preset/80-packages.preset",
    SYSTEM_TMPFILES,
)
DATABASES = ("/usr/lib/sysimage/dpkg", "/var/lib/dpkg")
PASSWD, GROUP = "/etc/passwd", "/etc/group"
ACCOUNTS = (PASSWD, GROUP, "/etc/shadow", "/etc/gshadow")
SYSUSERS, TMPFILES = "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d"
# Links to units: on the machine they are as good in /usr.
LINKS = ("/etc/systemd/system/", "/etc/systemd/user/")
LISTS = (".wants", ".requires", ".upholds")
UNITS = "/usr/lib/systemd/"
# Where files for /etc lie in a system extension.
CARRIED = "/usr/lib/build-os/extensions"
RELEASES = {
    ExtensionType.SYSEXT: "/usr/lib/extension-release.d/extension-release",
    ExtensionType.CONFEXT: "/etc/extension-release.d/extension-release",
}
# Who may say that the dynamic linker looks elsewhere; it does so by the cache, which is the system's.
LINKER = "/etc/ld.so.conf.d/"
MAX_SHOWN = 12
_OWNED = re.compile(r"(?P<place>.+? [0-7]{4}) (?P<user>\d+) (?P<group>\d+) (?P<rest>- .+)")


@dataclass(frozen=True)
class _Sides:
    """The finished roots of the system, and of the system with the extension."""

    system: Tree
    whole: Tree
    extension: ResolvedExtension


def make_extension_tree(system: Tree, whole: Tree, extension: ResolvedExtension) -> Tree:
    """The root of an extension's image.

    Args:
        system: the finished root of what it extends.
        whole: that of the system with all that the extension brings.

    Raises:
        InputError: it would have what an extension cannot have: a file of the system's that is another there, one
            outside of its directories, or one that belongs to a user whom it brings itself.
    """
    sides = _Sides(system, whole, extension)
    new = dict(_list_new(sides))
    _require_no_collisions(sides)
    nodes = dict(_place_all(new, sides) if extension.type is ExtensionType.SYSEXT else _place_configuration(new))
    _require_own_places(sides, new, nodes)
    parents = {parent for path in nodes for parent in _list_parents(path)}
    # Directories that both have look as the system's do: the upper one's owner and mode are what counts.
    tree = Tree({path: node for path, node in whole.walk() if path == "/" or path in parents})
    for path, node in nodes.items():
        tree.put(path, node)
    release = f"{RELEASES[extension.type]}.{extension.image_name}"
    tree.put(release, make_file(_format_release(tree, sides), origin=ORIGIN))
    return Tree({path: node.copy_with(mtime=min(node.mtime, _epoch(sides))) for path, node in tree.walk()})


def _epoch(sides: _Sides) -> int:
    return sides.extension.system.source_date_epoch or 0


def _list_parents(path: str) -> Iterator[str]:
    while (path := get_parent(path)) != "/":
        yield path


def _list_new(sides: _Sides) -> Iterator[tuple[str, Node]]:
    """What the system lacks, but for what nobody wants."""
    new = {path for path, _ in sides.whole.walk() if sides.system.get(path) is None and not _is_record(path)}
    wanted = _leave_out(new, sides.whole, sides.extension)
    yield from ((path, node) for path, node in sides.whole.walk() if path in wanted)


def _leave_out(paths: set[str], tree: Tree, extension: ResolvedExtension) -> set[str]:
    """Those of a tree's paths that the extension does not leave out."""
    parents = {parent for path in paths for parent in _list_parents(path)}
    left = Tree({path: node for path, node in tree.walk() if path == "/" or path in paths or path in parents})
    remove_matching(left, extension.remove, extension.keep)
    return {path for path in paths if path in left}


def _is_record(path: str) -> bool:
    return path in RECORDS or any(f"{path}/".startswith(f"{directory}/") for directory in DATABASES)


def _require_no_collisions(sides: _Sides) -> None:
    """Refuse to be laid over what the system has."""
    changed = {
        path
        for path, node in sides.system.walk()
        if not (_is_record(path) or path in ACCOUNTS or _is_same(node, sides.whole.get(path)))
    }
    lines = []
    for path in sorted(_leave_out(changed, sides.system, sides.extension)):
        other = sides.whole.get(path)
        would = "would take it away" if other is None else f"{_describe(other)} would bring another"
        lines.append(
            f"{path}: the system has it from {_describe(sides.system.require(path, follow=False))}, and {would}"
        )
    lines += _find_changed_accounts(sides)
    if lines:
        raise InputError(
            f"the extension '{sides.extension.name}' changes what the system has",
            details=_shorten(lines),
            hint="put it into the system's definition, or leave the file out with 'remove'",
        )


def _is_same(one: Node, other: Node | None) -> bool:
    if other is None or one.kind is not other.kind:
        return False
    looks = [(n.mode, n.uid, n.gid, n.target, n.device, n.xattrs) for n in (one, other)]
    if looks[0] != looks[1]:
        return False
    return one.kind is not Kind.FILE or one.content == other.content or one.content.read() == other.content.read()


def _describe(node: Node) -> str:
    kind, _, name = node.origin.partition(":")
    if kind in ("package", "overlay", "wheel", "container", "artifact"):
        return f"the {kind} '{name}'"
    return "build-os" if kind in ("stage", "output") else node.origin


def _shorten(lines: Sequence[str]) -> list[str]:
    left = len(lines) - MAX_SHOWN
    return [*lines[:MAX_SHOWN], *([f"and {left} more"] if left > 0 else [])]


def _place_configuration(new: dict[str, Node]) -> Iterator[tuple[str, Node]]:
    """A configuration extension has what is in ``/etc``."""
    yield from ((path, node) for path, node in new.items() if path.startswith("/etc/"))


def _place_all(new: dict[str, Node], sides: _Sides) -> Iterator[tuple[str, Node]]:
    """A system extension has what is in ``/usr``, and what makes the rest on the machine."""
    lines: list[str] = []
    for path, node in new.items():
        if path.startswith("/usr/"):
            yield path, _hide(node) if path.startswith(f"{FACTORY}/") and not _is_open(node) else node
        elif path.startswith(LINKS) and node.kind is Kind.SYMLINK:
            yield UNITS + path.removeprefix("/etc/systemd/"), _make_absolute(path, node)
        elif path.startswith("/etc/") and not path.endswith(LISTS):
            lines += _declare(path, node, sides)
            if node.kind is Kind.FILE:
                yield _carry(path, sides), node if _is_open(node) else _hide(node)
    lines += _list_new_lines(sides)
    if lines:
        text = "".join(
            f"{line}\n" for line in ["# What the extension has outside of /usr. Written by build-os.", *lines]
        )
        yield f"{TMPFILES}/{sides.extension.name}-extension.conf", make_file(text, origin=ORIGIN)
    if users := list(_declare_accounts(new, sides)):
        text = "".join(f"{line}\n" for line in ["# Whom the extension's packages need. Written by build-os.", *users])
        yield f"{SYSUSERS}/{sides.extension.name}-extension.conf", make_file(text, origin=ORIGIN)


def _make_absolute(path: str, node: Node) -> Node:
    """A link to a unit that says the same from another directory."""
    if node.target.startswith("/") or "/" not in node.target:
        return node
    return make_symlink(Tree().resolve(f"{get_parent(path)}/{node.target}"), origin=node.origin)


def _carry(path: str, sides: _Sides) -> str:
    return f"{CARRIED}/{sides.extension.name}{path}"


def _is_open(node: Node) -> bool:
    """Whether everybody may read it, and it is nobody's but root's."""
    return not (node.uid or node.gid) and node.mode & 0o444 == 0o444


def _hide(node: Node) -> Node:
    """What others own or may not read, as it waits to be copied."""
    return node.copy_with(uid=0, gid=0, mode=0o600)


def _declare(path: str, node: Node, sides: _Sides) -> Iterator[str]:
    """Lines of tmpfiles.d for something in ``/etc``, where nothing is there yet: links to what the extension has, and
    copies of what not everybody may read."""
    owner = f"{node.mode:04o} {_name(PASSWD, node.uid, sides)} {_name(GROUP, node.gid, sides)}"
    match node.kind:
        case Kind.DIRECTORY:
            yield f"d {quote_word(path)} {owner} - -"
        case Kind.SYMLINK:
            yield f"L {quote_word(path)} - - - - {quote_field(node.target)}"
        case Kind.FILE if _is_open(node):
            yield f"L {quote_word(path)} - - - - {quote_field(_carry(path, sides))}"
        case Kind.FILE:
            yield f"C {quote_word(path)} {owner} - {quote_field(_carry(path, sides))}"
        case _:
            pass


def _name(file: str, number: int, sides: _Sides) -> str:
    """A user's or group's number; of one whom only the extension brings the name: the machine chooses its number."""
    if number == 0 or str(number) in {row[NUMBER] for row in _read(file, sides.system)}:
        return str(number)
    return next((row[0] for row in _read(file, sides.whole) if row[NUMBER] == str(number)), str(number))


def _list_new_lines(sides: _Sides) -> Iterator[str]:
    """What is in ``/var`` only with the extension, as the system's own lines have it, by the names of its users."""
    before = set(sides.system.read_text(SYSTEM_TMPFILES).splitlines())
    for line in sides.whole.read_text(SYSTEM_TMPFILES).splitlines():
        if line in before:
            continue
        if line.startswith("L"):  # a link has no owner
            yield line
            continue
        match = _OWNED.fullmatch(line)
        assert match is not None, f"the stage that seals writes other lines: {line}"
        user, group = _name(PASSWD, int(match["user"]), sides), _name(GROUP, int(match["group"]), sides)
        yield f"{match['place']} {user} {group} {match['rest']}"


def _read(file: str, tree: Tree) -> list[Row]:
    return parse_rows(tree.read_text(file)) if file in tree else []


def _find_changed_accounts(sides: _Sides) -> Iterator[str]:
    """Users and groups of the system's that would be others."""
    for file in (PASSWD, GROUP):
        whole = _read(file, sides.whole)
        for row in _read(file, sides.system):
            other = find_row(whole, row[0])
            # Who is a member of a group may be more: that is declared.
            fields = MEMBERS if file == GROUP else None
            if other is None or row[:fields] != other[:fields]:
                yield f"{file}: '{row[0]}' would be {'gone' if other is None else 'another'}"


def _declare_accounts(new: dict[str, Node], sides: _Sides) -> Iterator[str]:
    """Lines of sysusers.d for users and groups that the system lacks, and that no package declares so itself."""
    known = set(_list_declared(new))
    passwd, group = _read(PASSWD, sides.whole), _read(GROUP, sides.whole)
    there = {file: {row[0] for row in _read(file, sides.system)} for file in (PASSWD, GROUP)}
    users = [row for row in passwd if row[0] not in there[PASSWD] and ("u", row[0]) not in known]
    own = {row[0] for row in users}
    for row in group:
        if row[0] not in there[GROUP] and row[0] not in own and not known & {("g", row[0]), ("u", row[0])}:
            yield f"g {row[0]} -"
    for name, _, _, number, comment, home, shell in users:
        main = next((row[0] for row in group if row[NUMBER] == number), "")
        identity = "-" if main == name else f"-:{main}"
        yield f'u {name} {identity} "{quote_field(comment)}" {home or "-"} {shell or "-"}'
    before = {row[0]: set(list_members(row)) for row in _read(GROUP, sides.system)}
    for row in group:
        for member in list_members(row):
            if member not in before.get(row[0], set()) and ("m", f"{member} {row[0]}") not in known:
                yield f"m {member} {row[0]}"


def _list_declared(new: dict[str, Node]) -> Iterator[tuple[str, str]]:
    """Users, groups and members of sysusers.d that the extension's packages ship."""
    for path, node in new.items():
        if get_parent(path) == SYSUSERS and node.kind is Kind.FILE:
            for line in node.content.read().decode().splitlines():
                words = line.split()
                if len(words) > 1 and words[0][0] in "ugm":
                    yield words[0][0], " ".join(words[1:3]) if words[0][0] == "m" else words[1]


def _require_own_places(sides: _Sides, new: dict[str, Node], nodes: dict[str, Node]) -> None:
    """Refuse what an extension cannot have, and what would not work on the machine."""
    place = "/usr" if sides.extension.type is ExtensionType.SYSEXT else "/etc"
    users = {row[NUMBER] for row in _read(PASSWD, sides.system)}
    groups = {row[NUMBER] for row in _read(GROUP, sides.system)}
    lines = [
        f"{path} says where libraries are, and the cache of that is the system's"
        for path in new
        if path.startswith(LINKER) and place == "/usr"
    ]
    lines += [
        f"{path} belongs to a user or group that the system lacks, so its number is not known"
        for path, node in nodes.items()
        if str(node.uid) not in users or str(node.gid) not in groups
    ]
    hidden = ("/var", "/run", "/tmp", "/dev", "/proc", "/sys")
    for path, node in new.items():
        is_placed = path.startswith(("/usr/", "/etc/")) if place == "/usr" else path.startswith("/etc/")
        is_hidden = any(f"{path}/".startswith(f"{directory}/") for directory in hidden)
        if not is_placed and node.kind is not Kind.DIRECTORY and (place == "/etc" or not is_hidden):
            lines.append(f"{path}, of {_describe(node)}, is not in {place}")
    if lines:
        raise InputError(
            f"the extension '{sides.extension.name}' has what a {sides.extension.type} cannot have",
            details=_shorten(lines),
            hint="leave the files out with 'remove', or put what brings them into the system's definition",
        )
    if not any(node.kind is not Kind.DIRECTORY for node in nodes.values()):
        raise InputError(
            f"the extension '{sides.extension.name}' has nothing that the system lacks",
            hint="name packages, overlays or units that the system does not have",
        )


def _format_release(tree: Tree, sides: _Sides) -> str:
    """The extension's ``extension-release`` (os-release(5))."""
    extension, system = sides.extension, sides.extension.system
    of_system = dict(
        line.partition("=")[::2] for line in sides.system.read_text(OS_RELEASE).splitlines() if "=" in line
    )
    lines = [
        f"ID={of_system['ID']}",
        f"{extension.type.upper()}_LEVEL={make_level(system.name, system.version)}",
        f"ARCHITECTURE={require_architecture(system.arch).partition}",
        f"IMAGE_ID={extension.name}",
        f"IMAGE_VERSION={system.version}",
    ]
    if f"{UNITS}system" in tree:
        lines.append("EXTENSION_RELOAD_MANAGER=1")
    return "".join(f"{line}\n" for line in lines)
