"""Users and groups: adduser(8), useradd(8) and their like, on the files of the tree.

Numbers are given as the programs do: the first free one from 100 up (``FIRST_SYSTEM_UID`` in adduser.conf(5)); what
``sysusers.d`` declares has its numbers before, from 999 down.
"""

from __future__ import annotations

import itertools
import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled
from firstboot.config.account_files import add_member, find_row, format_rows, parse_rows

FIRST_SYSTEM, LAST_SYSTEM = 100, 999
FIRST_USER, LAST_USER = 1000, 59999  # of adduser.conf(5)
LAST_USER_OF_USERADD = 60000  # UID_MAX of login.defs(5)
FIRST_SUBORDINATE, SUBORDINATE_COUNT = 100000, 65536  # SUB_UID_MIN, SUB_UID_COUNT of login.defs(5)
_NAME = re.compile(r"[a-z_][a-z0-9_.-]*\$?", re.I)


class NoSuchAccountError(NotModelled):
    """A user or group that is not there, where a script takes for granted that it is."""


def _rows(shell: Shell, path: str) -> list[list[str]]:
    return [row for row in parse_rows(shell.system.read(path) or "") if len(row) > 1]


def _find(shell: Shell, path: str, name: str) -> list[str] | None:
    return next((row for row in _rows(shell, path) if row[0] == name or (name.isdigit() and row[2] == name)), None)


def find_user_id(shell: Shell, name: str) -> int:
    """A user's number.

    Raises:
        NoSuchAccountError: there is no such user.
    """
    return _id(shell, "/etc/passwd", name, "user")


def find_group_id(shell: Shell, name: str) -> int:
    """A group's number.

    Raises:
        NoSuchAccountError: there is no such group.
    """
    return _id(shell, "/etc/group", name, "group")


def find_login_group(shell: Shell, user: str) -> str:
    """The number of a user's login group.

    Raises:
        NoSuchAccountError: there is no such user.
    """
    row = _find(shell, "/etc/passwd", user)
    if row is None:
        raise NoSuchAccountError(f"there is no user {user}")
    return row[3]


def _id(shell: Shell, path: str, name: str, what: str) -> int:
    if UNKNOWN in name:
        raise NotModelled(f"a {what} that is not known")
    if name.isdigit():
        return int(name)
    if name == "root":
        return 0
    row = _find(shell, path, name)
    if row is None:
        raise NoSuchAccountError(f"there is no {what} {name}")
    return int(row[2])


def _free(shell: Shell, first: int, last: int, *, both: bool) -> str:
    paths = ("/etc/group", "/etc/passwd") if both else ("/etc/group",)
    taken = {row[2] for path in paths for row in _rows(shell, path)}
    return next(str(number) for number in range(first, last + 1) if str(number) not in taken)


def _append(shell: Shell, path: str, line: str, mode: int) -> None:
    known = shell.system.get(path)
    quiet = len(shell.system.journal)
    shell.system.write(path, line + "\n", append=True)
    if known is None:
        gid = _find(shell, "/etc/group", "shadow")
        shell.system.change(path, EffectKind.MODE, "", mode=mode, gid=int(gid[2]) if gid and mode == 0o640 else 0)
    del shell.system.journal[quiet:]  # the user is the effect, not the line


def add_group(shell: Shell, name: str, number: str | None, *, system: bool) -> None:
    """A line in group and gshadow."""
    if not _NAME.fullmatch(name):
        raise NotModelled(f"the group {name}")
    if number is None:
        number = _free(shell, *((FIRST_SYSTEM, LAST_SYSTEM) if system else (FIRST_USER, LAST_USER)), both=False)
    _append(shell, "/etc/group", f"{name}:x:{number}:", 0o644)
    _append(shell, "/etc/gshadow", f"{name}:!::", 0o640)
    shell.system.record(EffectKind.GROUP, name, "system" if system else "")


def add_user(
    shell: Shell, name: str, number: str, group: str, comment: str, home: str, login: str, *, locked: str
) -> None:
    """A line in passwd and shadow. The day of the last change is left out: it would differ from build to build."""
    if not _NAME.fullmatch(name):
        raise NotModelled(f"the user {name}")
    _append(shell, "/etc/passwd", f"{name}:x:{number}:{group}:{comment}:{home}:{login}", 0o644)
    _append(shell, "/etc/shadow", f"{name}:{locked}:::::::", 0o640)
    shell.system.record(EffectKind.USER, name, f"home {home}, shell {login}")


def _join(shell: Shell, user: str, group: str) -> Status:
    for path in ("/etc/group", "/etc/gshadow"):
        text = shell.system.read(path)
        if text is None:
            continue
        rows = parse_rows(text)
        row = find_row(rows, group)
        if row is not None and add_member(row, user) and path == "/etc/group":
            shell.system.record(EffectKind.MEMBER, f"{user} to {group}")
        mark = len(shell.system.journal)
        shell.system.write(path, format_rows(rows))
        del shell.system.journal[mark:]
    return 0


def adduser(shell: Shell, arguments: list[str]) -> Status:
    """``adduser [--system] [--group] [--home d] ... name`` and ``adduser user group``. adduser(8)."""
    flags = (
        "system group quiet disabled-login disabled-password no-create-home force-badname allow-badname "
        "allow-bad-names allow-all-names add-extra-groups verbose debug q"
    )
    options = read_options(
        "adduser",
        _dashed(arguments),
        flags,
        "home shell uid gid gecos comment ingroup firstuid lastuid firstgid lastgid conf "
        "stdoutmsglevel stderrmsglevel logmsglevel",
    )
    operands = options.operands
    if len(operands) == 2:
        if _find(shell, "/etc/passwd", operands[0]) is None or _find(shell, "/etc/group", operands[1]) is None:
            raise NotModelled(f"adduser {' '.join(operands)}: one of them does not exist")
        return _join(shell, operands[0], operands[1])
    if len(operands) != 1:
        raise NotModelled("adduser without a name")
    name = operands[0]
    system = "system" in options
    if "group" in options and not system:
        return _new_group(shell, name, options.get("gid"), system=False)
    if _find(shell, "/etc/passwd", name) is not None:
        return 0 if system else 1
    if not system:
        return _new_user(shell, name, options.given)
    ingroup = options.get("ingroup")
    gid = options.get("gid")
    if gid is not None and not gid.isdigit():
        ingroup, gid = gid, None
    number = options.get("uid")
    first, last = int(options.get("firstuid") or FIRST_SYSTEM), int(options.get("lastuid") or LAST_SYSTEM)
    if "group" in options:
        existing = _find(shell, "/etc/group", name)
        if existing is not None:
            gid = existing[2]
            number = number or _free(shell, first, last, both=True)
        else:
            number = number or _free(shell, first, last, both=True)
            gid = number
            add_group(shell, name, gid, system=True)
    else:
        number = number or _free(shell, first, last, both=True)
        gid = str(find_group_id(shell, ingroup)) if ingroup else gid or str(find_group_id(shell, "nogroup"))
    home = options.get("home") or "/nonexistent"
    comment = options.get("gecos", "comment") or ""
    add_user(shell, name, number, gid, comment, home, options.get("shell") or "/usr/sbin/nologin", locked="!")
    if "no-create-home" not in options and home != "/nonexistent":
        _make_home(shell, home, int(number), int(gid))
    return 0


def _make_home(shell: Shell, home: str, uid: int, gid: int) -> None:
    path = shell.resolve_path(home)
    if shell.system.get(path) is None:
        shell.system.make_directory(path, 0o755)
        shell.system.change(path, EffectKind.OWNER, f"{uid}:{gid}", uid=uid, gid=gid)


def _new_user(shell: Shell, name: str, given: dict[str, str]) -> Status:
    number = given.get("uid") or _free(shell, FIRST_USER, LAST_USER, both=True)
    gid = given.get("gid")
    if gid is None:
        gid = number
        add_group(shell, name, gid, system=False)
    home = given.get("home") or f"/home/{name}"
    add_user(shell, name, number, gid, given.get("gecos", ""), home, given.get("shell") or "/bin/bash", locked="!")
    if "no-create-home" not in given:
        _make_home(shell, home, int(number), int(gid))
    return 0


def _new_group(shell: Shell, name: str, number: str | None, *, system: bool) -> Status:
    if _find(shell, "/etc/group", name) is not None:
        return 0 if system else 1
    add_group(shell, name, number, system=system)
    return 0


def _dashed(arguments: list[str]) -> list[str]:
    """Perl's Getopt takes long options with one dash as well."""
    return [f"-{a}" if re.fullmatch(r"-[a-z][a-z-]+(=.*)?", a) else a for a in arguments]


def addgroup(shell: Shell, arguments: list[str]) -> Status:
    """``addgroup [--system] name``; ``addgroup user group``."""
    options = read_options(
        "addgroup", _dashed(arguments), "system quiet group force-badname allow-badname verbose q", "gid conf"
    )
    if len(options.operands) == 2:
        return _join(shell, *options.operands)
    if len(options.operands) != 1:
        raise NotModelled("addgroup without a name")
    return _new_group(shell, options.operands[0], options.get("gid"), system="system" in options)


def groupadd(shell: Shell, arguments: list[str]) -> Status:
    """``groupadd [-r] [-f] [-g gid] [-K name=value] name``."""
    options = read_options("groupadd", arguments, "r f o system force non-unique", "g gid K key")
    name = options.operands[0] if options.operands else ""
    if _find(shell, "/etc/group", name) is not None:
        return 0 if {"f", "force"} & options.given.keys() else 9
    system = bool({"r", "system"} & options.given.keys())
    number = options.get("g", "gid") or _find_free_number(shell, "GID", _overridden(arguments), system=system)
    add_group(shell, name, number, system=system)
    return 0


def useradd(shell: Shell, arguments: list[str]) -> Status:
    """``useradd [-r] [-g group] [-d home] [-s shell] [-c comment] [-G groups] [-M|-m] [-F] [-K name=value] name``."""
    flags = (
        "r m M N U o l F system no-create-home create-home no-user-group user-group no-log-init badname "
        "add-subids-for-system"
    )
    options = read_options(
        "useradd", arguments, flags, "g d s c G u K key home-dir home shell comment groups gid uid base-dir b"
    )
    name = options.operands[0] if options.operands else ""
    if _find(shell, "/etc/passwd", name) is not None:
        return 9
    system = bool({"r", "system"} & options.given.keys())
    settings = _overridden(arguments)
    number = options.get("u", "uid") or _find_free_number(shell, "UID", settings, system=system)
    group = options.get("g", "gid")
    if group is not None:
        gid = str(find_group_id(shell, group))
    elif {"N", "no-user-group"} & options.given.keys():
        gid = "100"
    else:
        gid = _find_free_number(shell, "GID", settings, system=system, preferred=number)
        add_group(shell, name, gid, system=system)
    home = options.get("d", "home-dir", "home") or f"/home/{name}"
    add_user(
        shell,
        name,
        number,
        gid,
        options.get("c", "comment") or "",
        home,
        options.get("s", "shell") or "/bin/sh",
        locked="!",
    )
    for other in (options.get("G", "groups") or "").split(","):
        if other:
            _join(shell, name, other)
    if {"m", "create-home"} & options.given.keys():
        _make_home(shell, home, int(number), int(gid))
    if not system or {"F", "add-subids-for-system"} & options.given.keys():
        for path in ("/etc/subuid", "/etc/subgid"):
            if shell.system.get(path) is not None:
                first = _free_range(shell, path)
                _add_range(shell, path, name, f"{first}-{first + SUBORDINATE_COUNT - 1}")
    return 0


def _overridden(arguments: list[str]) -> dict[str, str]:
    """What ``-K NAME=VALUE`` says instead of login.defs(5).

    Raises:
        NotModelled: a limit that is no number.
    """
    values = [value for option, value in itertools.pairwise(arguments) if option in ("-K", "--key")]
    values += [value for word in arguments for option, _, value in [word.partition("=")] if option == "--key"]
    settings = dict(value.partition("=")[::2] for value in values)
    for name, value in settings.items():
        if name.endswith(("_MIN", "_MAX")) and not value.isdigit():
            raise NotModelled(f"-K {name}={value}")
    return settings


def _find_free_number(
    shell: Shell, kind: str, settings: dict[str, str], *, system: bool, preferred: str | None = None
) -> str:
    """A new user's ``UID`` or group's ``GID``.

    A system's is one less than the lowest that is taken, or the highest that is free if that is too low; a person's is
    one more than the highest, or the lowest that is free.

    Source: find_new_uid.c and find_new_gid.c of shadow-utils.

    Args:
        preferred: is taken if it is free and may be: a user's own group has the user's number.

    Raises:
        NotModelled: no number is left.
    """
    first_user = int(settings.get(f"{kind}_MIN", FIRST_USER))
    if system:
        first = int(settings.get(f"SYS_{kind}_MIN", FIRST_SYSTEM + 1))
        last = int(settings.get(f"SYS_{kind}_MAX", first_user - 1))
    else:
        first, last = first_user, int(settings.get(f"{kind}_MAX", LAST_USER_OF_USERADD))
    taken = {int(row[2]) for row in _rows(shell, "/etc/passwd" if kind == "UID" else "/etc/group") if row[2].isdigit()}
    if preferred is not None and int(preferred) not in taken and first <= int(preferred) <= last:
        return preferred
    within = [number for number in taken if first <= number <= last]
    if system:
        start = min(within, default=last + 1) - 1
        numbers = itertools.chain(range(start, first - 1, -1), range(last, first - 1, -1))
    else:
        start = max(within, default=first - 1) + 1
        numbers = itertools.chain(range(start, last + 1), range(first, last + 1))
    number = next((number for number in numbers if number not in taken), None)
    if number is None:
        raise NotModelled("a new account, where all numbers are taken")
    return str(number)


def _free_range(shell: Shell, path: str) -> int:
    """Where the next row of subuid(5) begins."""
    rows = sorted((int(row[1]), int(row[2])) for row in _rows(shell, path))
    first = FIRST_SUBORDINATE
    for start, count in rows:
        if start - first >= SUBORDINATE_COUNT:
            break
        first = max(first, start + count)
    return first


def usermod(shell: Shell, arguments: list[str]) -> Status:
    """``usermod [-a] [-G groups] [-d home] [-s shell] [-c comment] [-g group] [-L] name``."""
    options = read_options(
        "usermod",
        arguments,
        "a L U m append lock unlock move-home",
        "G d s c g u e v w p V W groups home shell comment gid expiredate add-subuids add-subgids password "
        "del-subuids del-subgids",
    )
    name = options.operands[0] if options.operands else ""
    row = _find(shell, "/etc/passwd", name)
    if row is None:
        return 6
    for path, names in (("/etc/subuid", ("v", "add-subuids")), ("/etc/subgid", ("w", "add-subgids"))):
        if (given := options.get(*names)) is not None:
            _add_range(shell, path, name, given)
    for path, names in (("/etc/subuid", ("V", "del-subuids")), ("/etc/subgid", ("W", "del-subgids"))):
        if (given := options.get(*names)) is not None:
            _remove_ranges(shell, path, name, given)
    if (password := options.get("p", "password")) is not None:
        _set_password(shell, name, password)
    for group in (options.get("G", "groups") or "").split(","):
        if group:
            _join(shell, name, group)
    new: list[str] = list(row)
    for column, names in ((5, ("d", "home")), (6, ("s", "shell")), (4, ("c", "comment"))):
        new[column] = options.get(*names) or new[column]
    if (primary := options.get("g", "gid")) is not None:
        new[3] = str(find_group_id(shell, primary))
    if new != row:
        text = (shell.system.read("/etc/passwd") or "").replace(":".join(row) + "\n", ":".join(new) + "\n")
        shell.system.write("/etc/passwd", text)
    return 0


def _add_range(shell: Shell, path: str, name: str, given: str) -> None:
    """``FIRST-LAST`` as a row of subuid(5)."""
    first, last = _range(given)
    row = f"{name}:{first}:{last - first + 1}\n"
    if row not in (shell.system.read(path) or ""):
        shell.system.write(path, row, append=True)


def _range(given: str) -> tuple[int, int]:
    first, dash, last = given.partition("-")
    if not dash or not first.isdigit() or not last.isdigit():
        raise NotModelled(f"the range {given}")
    return int(first), int(last)


def _remove_ranges(shell: Shell, path: str, name: str, given: str) -> None:
    first, last = _range(given)
    kept = []
    for row in _rows(shell, path):
        start, end = int(row[1]), int(row[1]) + int(row[2]) - 1
        if row[0] != name or end < first or start > last:
            kept.append(row)
        elif start < first or end > last:
            raise NotModelled(f"usermod that takes {given} from {start}-{end}")
    if format_rows(kept) != (shell.system.read(path) or ""):
        shell.system.write(path, format_rows(kept))


def _set_password(shell: Shell, name: str, password: str) -> None:
    """Only one with which nobody logs in: all machines of an image would share it."""
    if password.strip("*!x"):
        raise NotModelled(f"usermod gives {name} a password, which all machines of the image would share")
    rows = parse_rows(shell.system.read("/etc/shadow") or "")
    new = [[row[0], password, *row[2:]] if row[0] == name else row for row in rows]
    if new != rows:
        shell.system.write("/etc/shadow", format_rows(new))


def gpasswd(shell: Shell, arguments: list[str]) -> Status:
    """``gpasswd -a user group``."""
    options = read_options("gpasswd", arguments, "", "a M")
    if "a" not in options or len(options.operands) != 1:
        raise NotModelled("gpasswd")
    return _join(shell, options.given["a"], options.operands[0])


def getent(shell: Shell, arguments: list[str]) -> Status:
    """``getent [-s SERVICE] passwd|group [name ...]`` from the tree's files."""
    options = read_options("getent", arguments, "i A no-idn no-addrconfig", "s service", mixed=False)
    if (options.get("s", "service") or "files") != "files":
        raise NotModelled(f"getent of {options.get('s', 'service')}")
    arguments = options.operands
    if not arguments or arguments[0] not in ("passwd", "group", "shadow", "hosts", "services"):
        raise NotModelled("getent")
    if arguments[0] in ("hosts", "services"):
        return 2
    path = f"/etc/{arguments[0]}"
    if any(UNKNOWN in argument for argument in arguments):
        raise NotModelled("an argument of getent is only known on a running machine")
    if len(arguments) == 1:
        shell.say(shell.system.read(path) or "")
        return 0
    status = 0
    for name in arguments[1:]:
        row = _find(shell, path, name)
        if row is None:
            status = 2
        else:
            shell.say(":".join(row) + "\n")
    return status


def id_(shell: Shell, arguments: list[str]) -> Status:
    """``id [-u|-g|-n|-G] [name]``."""
    options = read_options("id", arguments, "u g n G r user group name groups")
    if not options.operands:
        shell.say("root\n" if "n" in options else "0\n")
        return 0
    row = _find(shell, "/etc/passwd", options.operands[0])
    if row is None:
        return 1
    groups = [g for g in _rows(shell, "/etc/group") if g[2] == row[3] or row[0] in g[3].split(",")]
    column = 0 if {"n", "name"} & options.given.keys() else 2
    if {"G", "groups"} & options.given.keys():
        shell.say(" ".join(g[column] for g in groups) + "\n")
    elif {"g", "group"} & options.given.keys():
        shell.say(next((g[column] for g in groups if g[2] == row[3]), row[3]) + "\n")
    elif {"u", "user"} & options.given.keys():
        shell.say(row[column] + "\n")
    else:
        shell.say(f"uid={row[2]}({row[0]}) gid={row[3]} groups=" + ",".join(f"{g[2]}({g[0]})" for g in groups) + "\n")
    return 0


def no_change(shell: Shell, arguments: list[str]) -> Status:
    """Changes of passwords and their ages: nobody has one in the image."""
    return 0


def deluser(shell: Shell, arguments: list[str]) -> Status:
    """``deluser [--quiet] user group``, of a user who is not in the group."""
    options = read_options("deluser", _dashed(arguments), "quiet q system group only-if-empty")
    if len(options.operands) == 2:
        user, group = options.operands
        row = _find(shell, "/etc/group", group)
        if row is None or user not in row[3].split(","):
            return 6
    elif len(options.operands) == 1 and _find(shell, "/etc/passwd", options.operands[0]) is None:
        return 0 if "system" in options else 2
    raise NotModelled("deluser")


COMMANDS = make_models({
    "adduser": adduser, "addgroup": addgroup, "groupadd": groupadd, "useradd": useradd, "usermod": usermod,
    "gpasswd": gpasswd, "deluser": deluser, "getent": getent, "id": id_, "chage": no_change, "chfn": no_change,
    "chsh": no_change,
}, accept_unknown=("getent",))  # fmt: skip
