"""dpkg(1) and its helpers: what is installed, diversions, overrides, triggers."""

from __future__ import annotations

import re

from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.language.patterns import convert_glob
from builder.debian.scripts.subjects.accounts import find_group_id, find_user_id
from builder.debian.scripts.subjects.files import change_mode
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled
from builder.debian.version import is_version, make_version_key

INFO = "/var/lib/dpkg/info"
OVERRIDES, DIVERSIONS = "/var/lib/dpkg/statoverride", "/var/lib/dpkg/diversions"
_COMPARISONS = {
    "lt": (-1,), "le": (-1, 0), "eq": (0,), "ne": (-1, 1), "ge": (0, 1), "gt": (1,),
    "<<": (-1,), "<": (-1, 0), "<=": (-1, 0), "=": (0,), ">=": (0, 1), ">": (0, 1), ">>": (1,),
}  # fmt: skip


def dpkg(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg --compare-versions``, ``--print-architecture``, ``-L``, ``-s``, ``-l``."""
    action, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    match action:
        case "--compare-versions" if len(rest[rest[:1] == ["--"] :]) == 3:
            return _compare(*rest[-3:])
        case "--print-architecture":
            shell.say(shell.system.installation.arch + "\n")
            return 0
        case "--print-foreign-architectures":
            return 0
        case "--validate-version":
            return int(not is_version(rest[0]))
        case "--assert-support-predepends" | "--assert-multi-conrep" | "--assert-protected-field":
            return 0
        case "-L" | "--listfiles":
            listings = [list_files(shell, name) for name in rest]
            shell.say("".join(f"{path}\n" for paths in listings for path in paths))
            return int(not all(listings))
        case "-S" | "--search":
            return _search(shell, rest)
        case "-s" | "--status" | "-l" | "--list":
            return int(not all(name.partition(":")[0] in shell.system.installation.versions for name in rest))
        case _:
            raise NotModelled(f"dpkg {action}")


def list_files(shell: Shell, package: str) -> list[str]:
    """A package's paths: by dpkg's list if there is a database, or by what brought them."""
    name = package.partition(":")[0]
    for listed in (f"{name}.list", f"{name}:{shell.system.installation.arch}.list"):
        text = shell.system.read(f"{INFO}/{listed}")
        if text is not None:
            return text.splitlines()
    return [path for path, node in shell.system.walk("/") if node.origin == f"package:{name}"]


def _search(shell: Shell, names: list[str]) -> Status:
    """Whose file a path is; of a link on the way to it, dpkg knows nothing."""
    status = 0
    for name in names:
        if any(letter in name for letter in "*?[") or not name.startswith("/"):
            # dpkg-query(1): what has no slash in front is looked for anywhere in a path.
            pattern = re.compile(convert_glob([(name if name[:1] in "*?[/" else f"*{name}*", False)]))
            lines = [
                f"{node.origin.removeprefix('package:')}: {path}\n"
                for path, node in shell.system.walk("/")
                if node.origin.startswith("package:") and pattern.fullmatch(path)
            ]
            shell.say("".join(lines))
            status = status if lines else 1
            continue
        node = shell.system.get(name, follow=False)
        direct = shell.system.tree.resolve(name, follow_last=False) == name
        if node is None or not direct or not node.origin.startswith("package:"):
            status = 1
        else:
            shell.say(f"{node.origin.removeprefix('package:')}: {name}\n")
    return status


def _compare(one: str, operator: str, other: str) -> Status:
    nothing = {"lt-nl": "lt", "le-nl": "le", "ge-nl": "ge", "gt-nl": "gt"}
    if UNKNOWN in one + other:
        return None
    later = operator in nothing  # an empty version is later than any
    operator = nothing.get(operator, operator)
    if operator not in _COMPARISONS:
        raise NotModelled(f"dpkg --compare-versions {operator}")
    if not one or not other:
        order = (bool(one) > bool(other)) - (bool(one) < bool(other))
        order = -order if later else order
    elif not is_version(one) or not is_version(other):
        return 1
    else:
        order = (make_version_key(one) > make_version_key(other)) - (make_version_key(one) < make_version_key(other))
    return int(order not in _COMPARISONS[operator])


def dpkg_query(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-query -W -f FORMAT package``: versions and states."""
    if arguments and arguments[0] in ("--control-path", "-c"):
        return 1  # of a version that was there before
    options = read_options("dpkg-query", arguments, "W s l L S show status list listfiles search", "f showformat")
    if "L" in options or "listfiles" in options:
        return dpkg(shell, ["-L", *options.operands])
    if {"S", "search"} & options.given.keys():
        return _search(shell, options.operands)
    template = options.get("f", "showformat")
    status = 0
    for request in options.operands:
        name = request.partition(":")[0]
        version = shell.system.installation.versions.get(name)
        # A package that is being installed for the first time has no version yet, and no conffiles.
        if version is None or "*" in name:
            status = 1
            continue
        values = {
            "Package": name, "binary:Package": name, "Version": version, "Status": "install ok installed",
            "db:Status-Status": "installed", "db:Status-Abbrev": "ii ", "Architecture": shell.system.installation.arch,
            "Conffiles": "", "db:Status-Want": "install", "db:Status-Eflag": "ok",
        }  # fmt: skip
        text = f"{name}\t{version}\n" if template is None else template.replace("\\n", "\n").replace("\\t", "\t")
        shell.say(re.sub(r"\$\{([^}]+)\}", lambda m, v=values: v.get(m[1].partition(";")[0], UNKNOWN), text))  # type: ignore[misc]  # mypy cannot type the default argument
    return status


def dpkg_statoverride(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-statoverride --add [--update] user group mode path``, ``--list``, ``--remove``."""
    options = read_options(
        "dpkg-statoverride",
        arguments,
        "add remove list update force quiet force-all force-statoverride-add force-statoverride-remove",
        "admindir root",
    )
    table = shell.system.read(OVERRIDES) or ""
    if "list" in options:
        pattern = options.operands[0] if options.operands else ""
        overrides = [line for line in table.splitlines() if not pattern or line.split(None, 3)[3:] == [pattern]]
        shell.say("".join(f"{line}\n" for line in overrides))
        return int(not overrides)
    if "remove" in options:
        path = options.operands[-1]
        kept = [line for line in table.splitlines() if line.split(None, 3)[3:] != [path]]
        shell.system.write(OVERRIDES, "".join(f"{line}\n" for line in kept))
        return 0
    if "add" not in options or len(options.operands) != 4:
        raise NotModelled("dpkg-statoverride")
    user, group, mode, path = options.operands
    if any(line.split(None, 3)[3:] == [path] for line in table.splitlines()):
        return 0 if "force" in options or "force-all" in options or "force-statoverride-add" in options else 2
    # In the table the mode is a number, without the zeros that somebody wrote before it.
    shell.system.write(OVERRIDES, f"{user} {group} {mode.lstrip('0') or '0'} {path}\n", append=True)
    shell.system.record(EffectKind.OVERRIDE, path, f"{user}:{group} {mode}", user, group, mode)
    if "update" in options and shell.system.get(path, follow=False) is not None:
        number = change_mode(mode, 0, directory=False)
        shell.system.change(
            path,
            EffectKind.MODE,
            f"{user}:{group} {mode}",
            uid=find_user_id(shell, user.lstrip("#")),
            gid=find_group_id(shell, group.lstrip("#")),
            mode=number,
        )
    return 0


def dpkg_divert(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-divert [--package p] [--divert to] [--rename|--no-rename] --add path``, ``--list``, ``--remove``."""
    options = read_options(
        "dpkg-divert",
        arguments,
        "add remove rename no-rename quiet local list listpackage truename",
        "package divert admindir root",
    )
    table = (shell.system.read(DIVERSIONS) or "").splitlines()
    known = {table[i]: (table[i + 1], table[i + 2]) for i in range(0, len(table) - 2, 3)}
    path = options.operands[0] if options.operands else ""
    if "list" in options:
        if path and "*" not in path and path in known:
            shell.say(f"diversion of {path} to {known[path][0]} by {known[path][1]}\n")
        return 0
    if "truename" in options:
        shell.say(known.get(path, (path,))[0] + "\n")
        return 0
    if "listpackage" in options:
        if path in known:
            shell.say(known[path][1] + "\n")
        return 0
    if "remove" in options:
        if path not in known:
            return 0
        del known[path]
        shell.system.write(DIVERSIONS, "".join(f"{p}\n{to}\n{by}\n" for p, (to, by) in known.items()))
        return 0
    if not path:
        raise NotModelled("dpkg-divert without a path")
    target = options.get("divert") or f"{path}.distrib"
    package = ":" if "local" in options else options.get("package") or shell.system.package
    if path in known:
        return 0 if known[path] == (target, package) else 2
    known[path] = (target, package)
    shell.system.write(DIVERSIONS, "".join(f"{p}\n{to}\n{by}\n" for p, (to, by) in known.items()))
    shell.system.record(EffectKind.DIVERSION, path, f"to {target}", target, package)
    node = shell.system.get(path, follow=False)
    # The package that diverts keeps its own file.
    if "rename" in options and node is not None and node.origin != f"package:{package}":
        shell.system.move(path, target)
    return 0


def maintscript_helper(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-maintscript-helper``: on a first installation it changes nothing, it looks after upgrades."""
    if arguments[:1] == ["supports"]:
        return 0
    shell.system.record(EffectKind.DROPPED, f"dpkg-maintscript-helper {' '.join(arguments[:2])}", "only for upgrades")
    return 0


def dpkg_realpath(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-realpath path``: with every link followed."""
    options = read_options("dpkg-realpath", arguments, "zero z", "root instdir")
    for name in options.operands:
        shell.say(shell.system.tree.resolve(shell.resolve_path(name)) + "\n")
    return 0


def dpkg_trigger(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-trigger [--no-await] name``."""
    options = read_options("dpkg-trigger", arguments, "no-await await check-supported no-act", "by-package admindir")
    if "check-supported" in options:
        return 0
    for name in options.operands:
        shell.system.record(EffectKind.TRIGGER, name)
    return 0


COMMANDS = make_models({
    "dpkg": dpkg, "dpkg-query": dpkg_query, "dpkg-statoverride": dpkg_statoverride, "dpkg-divert": dpkg_divert,
    "dpkg-maintscript-helper": maintscript_helper, "dpkg-trigger": dpkg_trigger, "dpkg-realpath": dpkg_realpath,
}, accept_unknown=("dpkg",), replayed=("dpkg-trigger",))  # fmt: skip
