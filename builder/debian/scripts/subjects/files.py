"""Commands that look at files and change them: coreutils(1) and findutils, by the options that scripts use."""

from __future__ import annotations

import os.path
import re
import stat
from datetime import UTC, datetime

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.accounts import NoSuchAccountError, find_group_id, find_login_group, find_user_id
from builder.debian.scripts.subjects.options import Options, read_options
from builder.debian.scripts.target_system import (
    NOT_OURS,
    OWN,
    SCRATCH,
    UNKNOWN,
    NotModelled,
    copy_node,
    join_path,
    require_known,
)
from builder.tree.node import Kind, Node, make_file
from builder.tree.tree import get_parent
from firstboot.config.account_files import find_name, parse_rows

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*)+)")
_MASKS = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "X": 0o111, "s": 0o6000, "t": 0o1000}


def change_mode(text: str, mode: int, *, directory: bool) -> int:
    """A mode after ``chmod``: octal, or symbolic like ``u=rwX,go-w``.

    Raises:
        NotModelled: neither.
    """
    if re.fullmatch("[0-7]{1,5}", text):
        number = int(text, 8)
        # A directory keeps its setgid bit unless five digits say otherwise.
        return number | (mode & 0o6000 if directory and len(text) < 5 else 0)
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if not match:
            raise NotModelled(f"the mode {text}")
        mask = 0
        for who in match[1] or "a":
            mask |= _MASKS[who]
        for operator, letters in re.findall(r"([-+=])([rwxXst]*)", match[2]):
            bits = 0
            for letter in letters:
                if letter != "X" or directory or mode & 0o111:
                    bits |= _BITS[letter]
            if operator == "=":
                mode &= ~(mask & (0o777 if directory else 0o7777))
            mode = mode & ~(bits & mask) if operator == "-" else mode | (bits & mask)
    return mode


def mkdir(shell: Shell, arguments: list[str]) -> Status:
    """``mkdir [-p] [-m mode] directory ...``; what it does not know is an error."""
    if "-f" in arguments:
        return 1
    options = read_options("mkdir", arguments, "p v Z parents verbose", "m mode")
    mode = options.get("m", "mode")
    status = 0
    for name in options.operands:
        path = shell.resolve_path(name)
        there = shell.system.get(path)
        parents = "p" in options or "parents" in options
        if NOT_OURS.match(path):
            continue
        if there is not None:
            status = status if parents and there.kind is Kind.DIRECTORY else 1
        elif not parents and shell.system.get(get_parent(path)) is None:
            status = 1
        else:
            shell.system.make_directory(
                path, change_mode(mode, 0o777, directory=True) if mode else shell.system.apply_umask(0o777)
            )
    return status


def install(shell: Shell, arguments: list[str]) -> Status:
    """``install [-d] [-m mode] [-o user] [-g group] ...``."""
    options = read_options(
        "install", arguments, "b d D p v c s T Z directory", "m o g t mode owner group target-directory"
    )
    mode = change_mode(options.get("m", "mode") or "755", 0, directory=False)
    owner, group = options.get("o", "owner"), options.get("g", "group")
    targets: list[str] = []
    if "d" in options or "directory" in options:
        for name in options.operands:
            path = shell.resolve_path(name)
            if shell.system.get(path) is None:
                shell.system.make_directory(path, mode)
            else:
                _set_mode(shell, path, mode)
            targets.append(path)
    else:
        operands = options.operands + ([options.given["t"]] if "t" in options else [])
        if len(operands) < 2:
            return 1
        *sources, target = operands
        for source in sources:
            path = _into(shell, source, target)
            if _copy(shell, shell.resolve_path(source), path) != 0:
                return 1
            _set_mode(shell, path, mode)
            targets.append(path)
    for path in targets:
        _set_owner(shell, path, owner or "", group or "")
    return 0


def _into(shell: Shell, source: str, target: str) -> str:
    path = shell.resolve_path(target)
    there = shell.system.get(path)
    if there is not None and there.kind is Kind.DIRECTORY:
        return join_path(path, source.rstrip("/").rpartition("/")[2])
    return path


def _copy(shell: Shell, source: str, path: str, *, keep: bool = False, links: bool = False) -> int:
    if NOT_OURS.match(source):
        if source == "/dev/null":
            shell.system.write(path, "")
            return 0
        raise NotModelled(f"{source} belongs to a running machine")
    node = shell.system.get(source, follow=not links)
    if node is None:
        return 1
    if node.kind is Kind.DIRECTORY:
        raise NotModelled("a directory copied like a file")
    if (text := shell.system.read_unfinished(source)) is not None:
        shell.system.write(path, text)
        return 0
    if node.origin.startswith(OWN):
        raise NotModelled(f"a copy of {source}, which every machine makes for itself")
    node = copy_node(node)
    copied = node if keep else node.copy_with(uid=0, gid=0, mode=shell.system.apply_umask(node.mode & 0o777))
    old = shell.system.get(path)
    if old is not None and not keep and node.kind is Kind.FILE:
        copied = old.copy_with(content=node.content)
        path = shell.system.tree.resolve(path)
    shell.system.put(path, copied.copy_with(origin=shell.system.origin))
    shell.system.record(EffectKind.FILE, path, f"a copy of {source}")
    return 0


def cp(shell: Shell, arguments: list[str]) -> Status:
    """``cp [-a] [-p] [-r] [-f] [-n] source ... target``."""
    flags = (
        "a p r R f n L P d v u x T i Z remove-destination archive preserve recursive force no-clobber update verbose "
        "no-target-directory"
    )
    options = read_options("cp", [a for a in arguments if not a.startswith("--preserve=")], flags, "t S suffix")
    if len(options.operands) < 2:
        return 1
    *sources, target = options.operands
    archive = "a" in options or "archive" in options
    keep = archive or "p" in options or "preserve" in options
    status = 0
    for source in sources:
        origin = shell.resolve_path(source)
        path = shell.resolve_path(target) if "T" in options else _into(shell, source, target)
        if ("n" in options or "no-clobber" in options) and shell.system.get(path) is not None:
            continue
        node = shell.system.get(origin)
        if node is not None and node.kind is Kind.DIRECTORY:
            if not (archive or "r" in options or "R" in options or "recursive" in options):
                return 1
            base = shell.system.tree.resolve(origin)
            for below, member in shell.system.walk(origin):
                mode = member.mode if keep else member.mode & 0o755
                shell.system.put(
                    path + below[len(base) :], copy_node(member).copy_with(mode=mode, origin=shell.system.origin)
                )
            shell.system.record(EffectKind.FILE, path, f"a copy of {origin} with all in it")
        else:
            status = _copy(shell, origin, path, keep=keep, links=archive or "d" in options or "P" in options) or status
    return status


def mv(shell: Shell, arguments: list[str]) -> Status:
    """``mv [-f] source ... target``."""
    options = read_options("mv", arguments, "f n v T i Z u force verbose no-target-directory no-clobber")
    if len(options.operands) < 2:
        return 1
    *sources, target = options.operands
    for source in sources:
        origin = shell.resolve_path(source)
        if shell.system.get(origin, follow=False) is None:
            return 1
        path = shell.resolve_path(target) if "T" in options else _into(shell, source, target)
        if SCRATCH.match(origin) and not SCRATCH.match(path):
            node = shell.system.get(origin, follow=False)
            assert node is not None
            if node.origin.startswith(OWN) or shell.system.read_unfinished(origin) is not None:
                shell.system.move(origin, path)
                continue
            shell.system.put(path, require_known(node).copy_with(origin=shell.system.origin))
            shell.system.record(EffectKind.FILE, path)
            shell.system.remove(origin)
        else:
            shell.system.move(origin, path)
    return 0


def rm(shell: Shell, arguments: list[str]) -> Status:
    """``rm [-r] [-f] path ...``."""
    options = read_options("rm", arguments, "r R f v d i recursive force verbose")
    status = 0
    for name in options.operands:
        path = shell.resolve_path(name)
        node = shell.system.get(path, follow=False)
        if node is None:
            status = status if "f" in options or "force" in options else 1
        elif node.kind is Kind.DIRECTORY and not {"r", "R", "recursive"} & options.given.keys():
            status = 1
        else:
            shell.system.remove(path)
    return status


def rmdir(shell: Shell, arguments: list[str]) -> Status:
    """``rmdir [--ignore-fail-on-non-empty] [-p] directory ...``."""
    options = read_options("rmdir", arguments, "p v ignore-fail-on-non-empty parents verbose")
    status = 0
    for name in options.operands:
        path = shell.resolve_path(name)
        node = shell.system.get(path, follow=False)
        if node is None or node.kind is not Kind.DIRECTORY:
            status = 1
        elif shell.system.list_children(path):
            status = status if "ignore-fail-on-non-empty" in options else 1
        else:
            shell.system.remove(path)
    return status


def ln(shell: Shell, arguments: list[str]) -> Status:
    """``ln [-s] [-f] [-n] target link``."""
    flags = "s f n v r T i b symbolic force no-dereference verbose relative no-target-directory"
    options = read_options("ln", arguments, flags)
    operands = options.operands
    if not operands:
        return 1
    if len(operands) == 1:
        operands = [operands[0], "."]
    *targets, where = operands
    symbolic = "s" in options or "symbolic" in options
    for target in targets:
        no_follow = {"n", "T", "no-dereference", "no-target-directory"} & options.given.keys()
        there = shell.system.get(shell.resolve_path(where), follow=not no_follow)
        inside = there is not None and there.kind is Kind.DIRECTORY
        path = join_path(shell.resolve_path(where), target.rpartition("/")[2]) if inside else shell.resolve_path(where)
        if shell.system.get(path, follow=False) is not None and not {"f", "force"} & options.given.keys():
            return 1
        if symbolic:
            if "r" in options or "relative" in options:
                target = os.path.relpath(shell.resolve_path(target), get_parent(path))
            shell.system.link(path, target)
        else:
            node = shell.system.get(shell.resolve_path(target), follow=False)
            if node is None:
                return 1
            shell.system.put(path, node)
            shell.system.record(EffectKind.LINK, path, f"a second name of {target}")
    return 0


def touch(shell: Shell, arguments: list[str]) -> Status:
    """``touch file ...``."""
    options = read_options("touch", arguments, "a m c h no-create", "r d t reference date")
    for name in options.operands:
        path = shell.resolve_path(name)
        if NOT_OURS.match(path):
            continue
        if shell.system.get(path) is None and not {"c", "no-create"} & options.given.keys():
            shell.system.put(path, make_file("", shell.system.apply_umask(0o666), origin=shell.system.origin))
            shell.system.record(EffectKind.FILE, path, "empty")
    return 0


def _targets(shell: Shell, names: list[str], *, recursive: bool) -> list[str] | None:
    paths: list[str] = []
    for name in names:
        path = shell.resolve_path(name)
        if NOT_OURS.match(path):
            continue
        if shell.system.get(path) is None:
            return None
        if recursive:
            paths += [where for where, _ in shell.system.walk(path)]
        else:
            paths.append(path)
    return paths


def _set_mode(shell: Shell, path: str, mode: int) -> None:
    shell.system.change(path, EffectKind.MODE, f"{mode:04o}", mode=mode)


def chmod(shell: Shell, arguments: list[str]) -> Status:
    """``chmod [-R] mode path ...``."""
    quiet = [a for a in arguments if a in ("-f", "--quiet", "--silent")]
    rest = [a for a in arguments if a not in ("-R", "--recursive", "-v", "-c", "--verbose", "--", *quiet)]
    reference = [a.partition("=")[2] for a in rest if a.startswith("--reference=")]
    if reference:
        rest = [a for a in rest if not a.startswith("--")]
        node = shell.system.get(shell.resolve_path(reference[0]))
        if node is None:
            return 1
        rest.insert(0, f"{node.mode:05o}")
    recursive = "-R" in arguments or "--recursive" in arguments
    if not rest:
        return 1
    paths = _targets(shell, rest[1:], recursive=recursive)
    if paths is None:
        return 1
    for path in paths:
        node = shell.system.get(path)
        if node is not None and node.kind is not Kind.SYMLINK:
            _set_mode(shell, path, change_mode(rest[0], node.mode, directory=node.kind is Kind.DIRECTORY))
    return 0


def _set_owner(shell: Shell, path: str, user: str, group: str, *, follow: bool = True) -> None:
    changes: dict[str, object] = {}
    if user:
        changes["uid"] = find_user_id(shell, user)
    if group:
        changes["gid"] = find_group_id(shell, group)
    if changes:
        shell.system.change(path, EffectKind.OWNER, f"{user}:{group}" if group else user, follow=follow, **changes)


def chown(shell: Shell, arguments: list[str]) -> Status:
    """``chown [-R] [-h] user[:group] path ...``."""
    flags = "R h v c f L P H recursive no-dereference verbose changes silent quiet"
    options = read_options("chown", arguments, flags, "from reference")
    if "from" in options:
        raise NotModelled("chown --from")
    if not options.operands:
        return 1
    owner, *names = options.operands
    if "reference" in options:
        node = shell.system.get(shell.resolve_path(options.given["reference"]))
        if node is None:
            return 1
        owner, names = f"{node.uid}:{node.gid}", options.operands
    user, separator, group = owner.partition(":" if ":" in owner else ".")
    try:
        if separator and not group:
            group = find_login_group(shell, user)
        return _change_owners(shell, names, user, group, options)
    except NoSuchAccountError:
        if shell.is_condition:
            return 1
        raise


def chgrp(shell: Shell, arguments: list[str]) -> Status:
    """``chgrp [-R] [-h] group path ...``."""
    options = read_options("chgrp", arguments, "R h v c f L P H recursive no-dereference verbose changes silent quiet")
    if not options.operands:
        return 1
    group, *names = options.operands
    try:
        return _change_owners(shell, names, "", group, options)
    except NoSuchAccountError:
        if shell.is_condition:
            return 1
        raise


def _change_owners(shell: Shell, names: list[str], user: str, group: str, options: Options) -> Status:
    """Of what links lead to; with ``-h``, and with ``-R`` wherever it meets one, of the links (coreutils, "chown")."""
    recursive = "R" in options or "recursive" in options
    follow = not (recursive or "h" in options or "no-dereference" in options)
    if recursive and "L" in options:
        raise NotModelled("owners of all that is behind links")
    if recursive and "H" in options:
        names = [shell.system.tree.resolve(shell.resolve_path(name)) for name in names]
    links = [name for name in names if not follow and _is_link(shell, name)]
    paths = _targets(shell, [name for name in names if name not in links], recursive=recursive)
    if paths is None:
        return 1
    paths += [shell.resolve_path(name) for name in links]
    for path in paths:
        _set_owner(shell, path, user, group, follow=follow)
    return 0


def _is_link(shell: Shell, name: str) -> bool:
    node = shell.system.get(shell.resolve_path(name), follow=False)
    return node is not None and node.kind is Kind.SYMLINK


def readlink(shell: Shell, arguments: list[str]) -> Status:
    """``readlink [-f|-e|-m] path`` and ``realpath path``."""
    options = read_options("readlink", arguments, "f e m n q s v canonicalize canonicalize-existing no-newline")
    status = 0
    for name in options.operands:
        path = shell.resolve_path(name)
        if NOT_OURS.match(path):
            shell.say(UNKNOWN + "\n")
            continue
        if {"f", "e", "m", "canonicalize", "canonicalize-existing"} & options.given.keys():
            shell.say(shell.system.tree.resolve(path) + "\n")
            continue
        node = shell.system.get(path, follow=False)
        if node is None or node.kind is not Kind.SYMLINK:
            status = 1
        else:
            shell.say(node.target + "\n")
    return status


def realpath(shell: Shell, arguments: list[str]) -> Status:
    """``realpath path``."""
    return readlink(shell, ["-f", *(a for a in arguments if a not in ("-e", "-m", "-s"))])


def stat_(shell: Shell, arguments: list[str]) -> Status:
    """``stat -c FORMAT path`` for owner, group, mode, size and type."""
    options = read_options("stat", arguments, "L t dereference", "c f format printf")
    template = options.get("c", "format")
    if template is None:
        raise NotModelled("stat without -c")
    for name in options.operands:
        node = shell.system.get(shell.resolve_path(name), follow="L" in options)
        if node is None:
            return 1
        shell.say(re.sub("%([a-zA-Z])", lambda match, node=node: _stat_field(shell, match[1], node), template) + "\n")  # type: ignore[misc]  # mypy cannot type the default argument
    return 0


def _stat_field(shell: Shell, letter: str, node: Node) -> str:
    names = {"U": ("/etc/passwd", node.uid), "G": ("/etc/group", node.gid)}
    if letter in names:
        path, number = names[letter]
        return find_name(parse_rows(shell.system.read(path) or ""), number) or "UNKNOWN"
    kinds = {Kind.FILE: "regular file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symbolic link"}
    values = {"u": str(node.uid), "g": str(node.gid), "a": f"{node.mode:o}", "s": str(node.size),
              "F": kinds.get(node.kind, "special file"), "Y": str(node.mtime)}  # fmt: skip
    if letter not in values:
        return UNKNOWN
    return values[letter]


def mktemp(shell: Shell, arguments: list[str]) -> Status:
    """``mktemp [-d] [template]``: names that are the same in every build; nobody sees them."""
    options = read_options("mktemp", arguments, "d q u t directory quiet tmpdir", "p suffix tmpdir")
    template = options.operands[0] if options.operands else "tmp.XXXXXX"
    base = options.get("p") or ("/tmp" if "/" not in template else shell.resolve_path("."))
    number = 0
    while True:
        path = join_path(base, re.sub("X{3,}", f"{number:06}", template)) + (options.get("suffix") or "")
        if shell.system.get(path) is None:
            break
        number += 1
    if "d" in options or "directory" in options:
        shell.system.make_directory(path, 0o700)
    else:
        shell.system.put(path, make_file("", 0o600, origin=shell.system.origin))
    shell.say(path + "\n")
    return 0


def ls(shell: Shell, arguments: list[str]) -> Status:
    """``ls [-1] [-d] [-A] [-v] path ...``; with ``-l`` files only."""
    options = read_options("ls", arguments, "1 d A a U r L l n v all")
    status = 0
    long = bool({"l", "n"} & options.given.keys())
    operands = sorted(options.operands, key=_by_version) if "v" in options else options.operands
    for name in operands or ["."]:
        path = shell.resolve_path(name)
        node = shell.system.get(path)
        if node is None:
            status = 2
        elif node.kind is Kind.DIRECTORY and "d" not in options:
            if long:
                raise NotModelled("ls -l of a directory")
            hidden = bool({"a", "A", "all"} & options.given.keys())
            names = [n for n in shell.system.list_children(path) if hidden or not n.startswith(".")]
            if "v" in options:
                names.sort(key=_by_version)
            shell.say("".join(f"{n}\n" for n in names))
        elif long:
            user, group = (
                (str(node.uid), str(node.gid)) if "n" in options else (_stat_field(shell, x, node) for x in "UG")
            )
            when = datetime.fromtimestamp(node.mtime, UTC).strftime("%b %e  %Y")
            kind = {Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}.get(node.kind, stat.S_IFREG)
            shell.say(f"{stat.filemode(kind | node.mode)} 1 {user} {group} {node.size} {when} {name}\n")
        else:
            shell.say(name + "\n")
    return status


def _by_version(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


COMMANDS = make_models({
    "mkdir": mkdir, "install": install, "cp": cp, "mv": mv, "rm": rm, "rmdir": rmdir, "ln": ln, "touch": touch,
    "chmod": chmod, "chown": chown, "chgrp": chgrp, "readlink": readlink, "realpath": realpath, "stat": stat_,
    "mktemp": mktemp, "tempfile": mktemp, "ls": ls, "unlink": rm,
}, accept_unknown=("ls",), are_common_names=True)  # fmt: skip
