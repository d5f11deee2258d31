"""dpkg(1)'s helpers, update-alternatives(1), ucf(1), setcap(8) and add-shell(8)."""

from __future__ import annotations

import re

from builder.debian.scripts.effects import Does
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.language.patterns import glob_regex
from builder.debian.scripts.subjects.accounts import group_id, user_id
from builder.debian.scripts.subjects.files import changed_mode
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import UNKNOWN, NotModelled, copy_of
from builder.debian.version import is_version, version_key
from builder.tree.node import Kind, symlink

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
            found = [files_of(shell, name) for name in rest]
            shell.say("".join(f"{path}\n" for paths in found for path in paths))
            return int(not all(found))
        case "-S" | "--search":
            return _search(shell, rest)
        case "-s" | "--status" | "-l" | "--list":
            return int(not all(name.partition(":")[0] in shell.system.installation.versions for name in rest))
        case _:
            raise NotModelled(f"dpkg {action}")


def files_of(shell: Shell, package: str) -> list[str]:
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
            pattern = re.compile(glob_regex([(name if name[:1] in "*?[/" else f"*{name}*", False)]))
            found = [
                f"{node.origin.removeprefix('package:')}: {path}\n"
                for path, node in shell.system.walk("/")
                if node.origin.startswith("package:") and pattern.fullmatch(path)
            ]
            shell.say("".join(found))
            status = status if found else 1
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
        order = (version_key(one) > version_key(other)) - (version_key(one) < version_key(other))
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
        found = [line for line in table.splitlines() if not pattern or line.split(None, 3)[3:] == [pattern]]
        shell.say("".join(f"{line}\n" for line in found))
        return int(not found)
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
    shell.system.note(Does.OVERRIDE, path, f"{user}:{group} {mode}", user, group, mode)
    if "update" in options and shell.system.get(path, follow=False) is not None:
        number = changed_mode(mode, 0, directory=False)
        shell.system.change(
            path,
            Does.MODE,
            f"{user}:{group} {mode}",
            uid=user_id(shell, user.lstrip("#")),
            gid=group_id(shell, group.lstrip("#")),
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
    shell.system.note(Does.DIVERSION, path, f"to {target}", target, package)
    node = shell.system.get(path, follow=False)
    # The package that diverts keeps its own file.
    if "rename" in options and node is not None and node.origin != f"package:{package}":
        shell.system.move(path, target)
    return 0


def maintscript_helper(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-maintscript-helper``: on a first installation it changes nothing, it looks after upgrades."""
    if arguments[:1] == ["supports"]:
        return 0
    shell.system.note(Does.DROPPED, f"dpkg-maintscript-helper {' '.join(arguments[:2])}", "only for upgrades")
    return 0


def dpkg_realpath(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-realpath path``: with every link followed."""
    options = read_options("dpkg-realpath", arguments, "zero z", "root instdir")
    for name in options.operands:
        shell.say(shell.system.tree.resolve(shell.path(name)) + "\n")
    return 0


def dpkg_trigger(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-trigger [--no-await] name``."""
    options = read_options("dpkg-trigger", arguments, "no-await await check-supported no-act", "by-package admindir")
    if "check-supported" in options:
        return 0
    for name in options.operands:
        shell.system.note(Does.TRIGGER, name)
    return 0


def update_alternatives(shell: Shell, arguments: list[str]) -> Status:
    """``update-alternatives --install``; the handler chooses when all are known."""
    rest = [a for a in arguments if a not in ("--quiet", "--verbose", "--force", "--skip-auto")]
    while rest and rest[0] in ("--altdir", "--admindir", "--log"):
        rest = rest[2:]
    action = rest[0] if rest else ""
    if action == "--install" and len(rest) >= 5 and re.fullmatch(r"-?[0-9]+", rest[4]):
        link, name, path, priority = rest[1:5]
        slaves: list[tuple[str, str, str]] = []
        more = rest[5:]
        while more:
            if more[0] in ("--slave", "--follower") and len(more) >= 4:
                slaves.append((more[1], more[2], more[3]))
                more = more[4:]
            else:
                raise NotModelled(f"update-alternatives {more[0]}")
        if shell.system.get(path) is None:
            # update-alternatives fails over a path that is not there.
            return 2
        shell.system.note(Does.ALTERNATIVE, name, f"{path}, priority {priority}", link, path, int(priority), *slaves)
        shell.records.alternatives[name, path] = (int(priority), link)
        if max(_offers(shell, name).items(), key=lambda offer: offer[1][0])[0] == path:
            _link_alternative(shell, [(link, name, path), *slaves])
        return 0
    if action in ("--auto", "--remove", "--remove-all"):
        return 0
    if action in ("--query", "--display", "--list"):
        offers = _offers(shell, rest[1])
        if not offers:
            return 2
        if action == "--list":
            shell.say("".join(f"{path}\n" for path in sorted(offers)))
            return 0
        best = max(offers, key=lambda path: offers[path][0])
        lines = [f"Name: {rest[1]}", f"Link: {offers[best][1]}", "Status: auto", f"Best: {best}", f"Value: {best}"]
        for path in sorted(offers):
            lines += ["", f"Alternative: {path}", f"Priority: {offers[path][0]}"]
        shell.say("".join(f"{line}\n" for line in lines))
        return 0
    raise NotModelled(f"update-alternatives {action}")


def _offers(shell: Shell, name: str) -> dict[str, tuple[int, str]]:
    """What scripts have offered for a name so far: priority and link by path. As dpkg's record, it outlives them."""
    if ("alternative", name) in shell.state.shared.unclear:
        raise NotModelled(f"what is offered as {name} depends on what only a running machine knows")
    offers = shell.records.alternatives
    return {path: offer for (offered, path), offer in offers.items() if offered == name}


def _link_alternative(shell: Shell, links: list[tuple[str, str, str]]) -> None:
    """Links of the best choice so far, for scripts that look for what it provides; the handler makes the last ones."""
    for link, name, path in links:
        if shell.system.get(path) is not None:
            place = f"/etc/alternatives/{name}"
            shell.system.put(place, symlink(path, origin="stage:packages"))
            if shell.system.get(link, follow=False) is None:
                shell.system.put(link, symlink(place, origin="stage:packages"))


def ucf(shell: Shell, arguments: list[str]) -> Status:
    """``ucf new destination``: the new file is taken where none is; ucf(1) keeps its hash."""
    flags = "three-way debconf-ok debconf-template sum-file h help purge p n no-action v verbose Z state-dir d"
    options = read_options(
        "ucf",
        ["--three-way" if a == "-three-way" else a for a in arguments if not re.fullmatch(r"--debug=.*|-d[0-9]?", a)],
        flags.replace(" sum-file", "").replace(" debconf-template", "").replace(" state-dir", ""),
        "src-dir sum-file debconf-template state-dir debug",
    )
    if "purge" in options or "p" in options or len(options.operands) != 2:
        return 0
    source, target = (shell.path(name) for name in options.operands)
    there = shell.system.get(source)
    if there is None or there.kind is not Kind.FILE:
        raise NotModelled(f"ucf of {source}, which is not there")
    target = shell.system.tree.resolve(target)
    if shell.system.get(target) is None:
        shell.system.put(target, copy_of(there).but(origin=shell.system.origin, uid=0, gid=0))
        shell.system.note(Does.FILE, target, f"a copy of {source}")
    shell.system.note(Does.CONFIGURATION, target, "", source)
    return 0


def ucfr(shell: Shell, arguments: list[str]) -> Status:
    """``ucfr package file``: whose configuration file it is."""
    options = read_options(
        "ucfr",
        [a for a in arguments if not re.fullmatch(r"--debug=.*", a)],
        "p v f h n purge force verbose",
        "state-dir",
    )
    if len(options.operands) == 2 and not {"p", "purge"} & options.given.keys():
        shell.system.note(Does.CONFIGURATION, options.operands[1], f"of {options.operands[0]}", "", options.operands[0])
    return 0


def setcap(shell: Shell, arguments: list[str]) -> Status:
    """``setcap capabilities path``: an extended attribute, capabilities(7)."""
    options = read_options("setcap", arguments, "q v r n f")
    if "r" in options:
        raise NotModelled("setcap -r")
    for text, name in zip(options.operands[::2], options.operands[1::2], strict=False):
        path = shell.path(name)
        node = shell.system.get(path)
        if node is None:
            return 1
        xattr = ("security.capability", capability(text))
        if "v" in options:  # whether it has them
            if xattr not in node.xattrs:
                return 1
            continue
        shell.system.change(path, Does.CAPABILITY, text, xattrs=(xattr,))
    return 0


def getcap(shell: Shell, arguments: list[str]) -> Status:
    """``getcap path``: says which of the files have capabilities."""
    for name in arguments:
        node = shell.system.get(shell.path(name)) if not name.startswith("-") else None
        if node is not None and any(key == "security.capability" for key, _ in node.xattrs):
            shell.say(f"{name} {UNKNOWN}\n")
    return 0


# linux/capability.h, by number.
_CAPABILITIES = [
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
]  # fmt: skip


def capability(text: str) -> bytes:
    """``cap_net_raw,cap_net_admin+ep`` as the kernel's ``struct vfs_cap_data``, revision 2. cap_text_formats(7).

    Raises:
        NotModelled: a form that is not known.
    """
    sets = dict.fromkeys("eip", 0)
    for clause in text.split():
        match = re.fullmatch(r"([a-z_,]*)((?:[=+-][eip]*)+)", clause.lower())
        if not match:
            raise NotModelled(f"the capabilities {text}")
        bits = 0
        for name in match[1].split(","):
            short = name.removeprefix("cap_")
            if short not in _CAPABILITIES:
                raise NotModelled(f"the capability {name}")
            bits |= 1 << _CAPABILITIES.index(short)
        for operator, flags in re.findall(r"([=+-])([eip]*)", match[2]):
            for flag in "eip" if operator == "=" else flags:
                kept = sets[flag] & ~bits
                sets[flag] = kept | bits if operator != "-" and flag in flags else kept
    effective, permitted, inheritable = sets["e"], sets["p"], sets["i"]
    if effective not in (0, permitted | inheritable):
        raise NotModelled(f"the capabilities {text}, which a file cannot have")
    low, high = 0xFFFFFFFF, 32
    words = (0x02000000 | bool(effective), permitted & low, inheritable & low, permitted >> high, inheritable >> high)
    return b"".join(word.to_bytes(4, "little") for word in words)


def add_shell(shell: Shell, arguments: list[str]) -> Status:
    """``add-shell path ...``: a line in ``/etc/shells``. update-shells(8) does that from ``shells.d`` by a trigger."""
    lines = (shell.system.read("/etc/shells") or "").splitlines()
    for name in arguments:
        if name not in lines:
            shell.system.write("/etc/shells", f"{name}\n", append=True)
            shell.system.note(Does.SHELL, name)
    return 0


def ucfq(shell: Shell, arguments: list[str]) -> Status:
    """``ucfq [-w] file ...``: no package has registered a file that is asked about on a first installation."""
    return 0


COMMANDS = make_models({
    "dpkg": dpkg, "dpkg-query": dpkg_query, "dpkg-statoverride": dpkg_statoverride, "dpkg-divert": dpkg_divert,
    "dpkg-maintscript-helper": maintscript_helper, "dpkg-trigger": dpkg_trigger, "dpkg-realpath": dpkg_realpath,
    "update-alternatives": update_alternatives, "ucf": ucf, "ucfr": ucfr, "ucfq": ucfq,
    "setcap": setcap, "getcap": getcap, "add-shell": add_shell,
}, accept_unknown=("dpkg",))  # fmt: skip
