"""What the machine says of itself, and programs that run others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from builder.core.architecture import ARCHITECTURES, Arch
from builder.debian.scripts.effects import EffectKind
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.accounts import find_group_id, find_login_group, find_user_id
from builder.debian.scripts.subjects.options import getopt, read_options
from builder.debian.scripts.subjects.text import input_of
from builder.debian.scripts.target_system import UNKNOWN, NotModelled
from builder.tree.node import Kind
from firstboot.config.account_files import find_row, list_groups, parse_rows


def uname(shell: Shell, arguments: list[str]) -> Status:
    """``uname -s``, ``-m``; of the kernel's version only that it is not one of the last century's."""
    architecture = next((arch for arch in Arch if arch == shell.system.installation.arch), None)
    machine = UNKNOWN if architecture is None else ARCHITECTURES[architecture].machines[0]
    known = {"-s": "Linux", "-m": machine, "-o": "GNU/Linux", "": "Linux", "-r": f"6.{UNKNOWN}"}
    shell.say(known.get(arguments[0] if arguments else "", UNKNOWN) + "\n")
    return 0


def not_known(shell: Shell, arguments: list[str]) -> Status:
    """A program whose answer only a running machine knows."""
    shell.say(UNKNOWN + "\n")
    return 0


def sh(shell: Shell, arguments: list[str]) -> Status:
    """``sh -c text``, ``sh file``, and ``sh`` that reads its commands from its standard input."""
    options = read_options("sh", arguments, "c e s x u", mixed=False)
    if not options.operands:
        if shell.state.input is None or UNKNOWN in shell.state.input:
            raise NotModelled("a shell that reads its commands from elsewhere")
        text, shell.state.input = shell.state.input, ""
        return shell.run_inner(text)
    if "c" in options:
        return shell.run_inner(options.operands[0], options.operands[2:])
    path = shell.resolve_path(options.operands[0])
    if path.rpartition("/")[2] in shell.commands:
        return shell.call([path, *options.operands[1:]])
    text = shell.system.read(path) or ""
    return shell.run_script(text, options.operands[1:], path) if text else 127


def env(shell: Shell, arguments: list[str]) -> Status:
    """``env [-i] [-u NAME] [name=value] command``, ``nice``, ``ionice``, ``timeout``."""
    rest = list(arguments)
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        word = rest.pop(0)
        if word in ("-u", "-n", "-c"):
            rest = rest[1:]
    return shell.call(rest) if rest else 0


def getopt_(shell: Shell, arguments: list[str]) -> Status:
    """``getopt -o letters -l words -n name -- argument ...``."""
    if arguments in (["-T"], ["--test"]):
        return 4  # the enhanced one
    shell.say(f" {getopt(arguments)}\n")
    return 0


@contextmanager
def _as(shell: Shell, user: str, group: str) -> Iterator[None]:
    """What is made belongs to a user and a group. Nothing is refused them: a script does what it may."""
    before = shell.state.owner
    shell.state.owner = (find_user_id(shell, user), find_group_id(shell, group or find_login_group(shell, user)))
    try:
        yield
    finally:
        shell.state.owner = before


def su(shell: Shell, arguments: list[str]) -> Status:
    """``su [-] [-s shell] [-c text] user``."""
    words = [word for word in arguments if word != "-"]
    options = read_options("su", words, "l m p login", "s c shell command g group")
    text = options.get("c", "command")
    if text is None:
        raise NotModelled("su without a command")
    with _as(shell, (options.operands or ["root"])[0], options.get("g", "group") or ""):
        return shell.run_inner(text)


def runuser(shell: Shell, arguments: list[str]) -> Status:
    """``runuser -u user [-g group] -- command`` and ``sudo -u user command``; without ``-u`` as ``su``."""
    options = read_options("runuser", arguments, "n E H", "u user g group", mixed=False) if arguments else None
    user = options.get("u", "user") if options is not None else None
    if options is None or user is None:
        return su(shell, arguments)
    with _as(shell, user, options.get("g", "group") or ""):
        return shell.call(options.operands) if options.operands else 0


def timeout(shell: Shell, arguments: list[str]) -> Status:
    """``timeout [-k duration] [-s signal] duration command``."""
    options = read_options("timeout", arguments, "foreground preserve-status v verbose", "k s", mixed=False)
    return shell.call(options.operands[1:]) if len(options.operands) > 1 else 125


def setpriv(shell: Shell, arguments: list[str]) -> Status:
    """``setpriv [--reuid user] [--regid group] [--init-groups] command``."""
    flags = "init-groups clear-groups reset-env no-new-privs"
    options = read_options("setpriv", arguments, flags, "reuid regid groups inh-caps bounding-set", mixed=False)
    with _as(shell, options.get("reuid") or "root", options.get("regid") or ""):
        return shell.call(options.operands) if options.operands else 0


def groups(shell: Shell, arguments: list[str]) -> Status:
    """``groups name``: those whose member somebody is, the login group first."""
    for name in arguments:
        user = find_row(parse_rows(shell.system.read("/etc/passwd") or ""), name)
        if user is None:
            return 1
        listed = parse_rows(shell.system.read("/etc/group") or "")
        first = [row[0] for row in listed if row[2] == user[3]]
        others = [group for group in list_groups(listed, name) if group not in first]
        shell.say(f"{name} : {' '.join([*first, *others])}\n")
    return 0


def run_parts(shell: Shell, arguments: list[str]) -> Status:
    """``run-parts [--exit-on-error] [--arg=A] [--list|--test] directory``: the programs in a directory, by name."""
    words = [word for word in arguments if not word.startswith(("--arg=", "-a="))]
    given = [word.partition("=")[2] for word in arguments if word.startswith("--arg=")]
    options = read_options("run-parts", words, "exit-on-error list test report verbose v", "a arg umask u regex")
    given += [value for value in (options.get("a", "arg"),) if value is not None]
    status: Status = 0
    for directory in options.operands[:1]:
        path = shell.resolve_path(directory)
        for name in shell.system.list_children(path):
            node = shell.system.get(f"{path}/{name}")
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or node is None or node.kind is not Kind.FILE:
                continue
            if {"list", "test"} & options.given.keys():
                if "list" in options or node.is_executable:
                    shell.say(f"{directory.rstrip('/')}/{name}\n")
            elif node.is_executable:
                status = shell.call([f"{path}/{name}", *given])
                if status != 0 and "exit-on-error" in options:
                    return status
    return status


def dpkg_vendor(shell: Shell, arguments: list[str]) -> Status:
    """``dpkg-vendor --is|--derives-from|--query``: it is Debian. dpkg-vendor(1)."""
    match arguments:
        case ["--is", name]:
            return int(name.lower() != "debian")
        case ["--derives-from", _]:
            return 1
        case ["--query", "Vendor" | "vendor"]:
            shell.say("Debian\n")
            return 0
        case _:
            raise NotModelled("dpkg-vendor")


def no_terminal(shell: Shell, arguments: list[str]) -> Status:
    """``stty`` and ``tty``: nobody sits at an installation."""
    return 1


def getconf(shell: Shell, arguments: list[str]) -> Status:
    """``getconf LONG_BIT``."""
    shell.say(("64" if arguments == ["LONG_BIT"] else UNKNOWN) + "\n")
    return 0


def locale(shell: Shell, arguments: list[str]) -> Status:
    """``locale`` and ``locale charmap``: scripts are run in :data:`~builder.debian.scripts.evaluate.LANGUAGE`."""
    language = shell.get_value("LC_ALL") or "C"
    if not arguments:
        names = ("CTYPE", "NUMERIC", "TIME", "COLLATE", "MONETARY", "MESSAGES", "PAPER", "NAME", "ADDRESS",
                 "TELEPHONE", "MEASUREMENT", "IDENTIFICATION")  # fmt: skip
        rows = [f'LC_{name}="{language}"' for name in names]
        shell.say("".join(f"{row}\n" for row in ("LANG=", "LANGUAGE=", *rows, f"LC_ALL={language}")))
    elif arguments == ["charmap"]:
        shell.say("UTF-8\n" if language.endswith("UTF-8") else "ANSI_X3.4-1968\n")
    else:
        raise NotModelled(f"locale {' '.join(arguments)}")
    return 0


def iconv(shell: Shell, arguments: list[str]) -> Status:
    """``iconv [-c] -f CHARSET -t CHARSET [file]`` between those that Python knows, without transliteration."""
    options = read_options("iconv", arguments, "c s", "f t from-code to-code")
    text = input_of(shell, options.operands)
    if text is None:
        return 1
    source, target = (
        (options.get(*names) or "UTF-8").partition("//")[0] for names in (("f", "from-code"), ("t", "to-code"))
    )
    try:
        data = (
            text.encode(errors="surrogateescape")
            .decode(source)
            .encode(target, "ignore" if "c" in options else "strict")
        )
    except (LookupError, UnicodeError) as error:
        raise NotModelled(f"iconv from {source} to {target}") from error
    shell.say(UNKNOWN if UNKNOWN in text else data.decode(errors="surrogateescape"))
    return 0


_CHRONYD = re.compile(r"\s*[^#!;%\s]")


def chronyd(shell: Shell, arguments: list[str]) -> Status:
    """``chronyd -p``: the configuration without its comments; a failure if there is none. chronyd(8)."""
    text = shell.system.read("/etc/chrony/chrony.conf")
    if arguments != ["-p"]:
        raise NotModelled("chronyd")
    if text is None:
        return 1
    shell.say("".join(f"{line}\n" for line in text.splitlines() if _CHRONYD.match(line)))
    return 0


def sshd(shell: Shell, arguments: list[str]) -> Status:
    """``sshd -G``: the configuration as the running machine has it; ``-t`` only looks at it."""
    if arguments not in (["-G"], ["-T"], ["-t"]):
        raise NotModelled("sshd")
    shell.say(UNKNOWN if arguments != ["-t"] else "")
    return 0


def check(name: str, *words: str) -> Callable[[Shell, list[str]], Status]:
    """A program that says whether a configuration is sound; that of a package which was just unpacked is.

    Args:
        words: of which one must be among the arguments, if any is given here.
    """

    def run(shell: Shell, arguments: list[str]) -> Status:
        if words and not set(words) & set(arguments):
            raise NotModelled(name)
        shell.system.record(EffectKind.DROPPED, name, "it only looks at the configuration")
        return 0

    return run


_CHECKS = {
    "named-checkconf": (), "named-checkzone": (), "nginx": ("-t", "-T"), "apachectl": ("configtest", "-t"),
    "apache2ctl": ("configtest", "-t"), "visudo": ("-c", "-cq", "-cf"), "haproxy": ("-c",), "slaptest": (),
    "testparm": (), "unbound-checkconf": (), "squid": ("parse", "-k"), "php-fpm": ("-t",), "dovecot": ("-n",),
    "freeradius": ("-C", "-CX", "-XC"), "varnishd": ("-C",), "lighttpd": ("-t", "-tt"), "monit": ("-t",),
    "smokeping": ("--check",), "exim4": ("-bV",), "proftpd": ("-t",),
    "promtool": ("check",), "caddy": ("validate",), "dhcpd": ("-t",), "named": ("-V", "-v"),
}  # fmt: skip
_ONLY_RUNNING = (
    "date", "nproc", "df", "du", "ps", "whoami", "lsb_release", "free", "logname",
)  # fmt: skip
COMMANDS = make_models({
    "uname": uname, "sh": sh, "bash": sh, "dash": sh, "env": env, "nice": env, "ionice": env,
    "timeout": timeout, "getconf": getconf, "getopt": getopt_, "su": su, "runuser": runuser,
    "sudo": runuser, "locale": locale, "iconv": iconv,
    "setpriv": setpriv, "chronyd": chronyd,
    "groups": groups, "run-parts": run_parts, "dpkg-vendor": dpkg_vendor,
    "stty": no_terminal, "tty": no_terminal, "sshd": sshd, "sshd.session-split": sshd,
    **dict.fromkeys(_ONLY_RUNNING, not_known),
    **{name: check(name, *words) for name, words in _CHECKS.items()},
}, accept_unknown=("date",))  # fmt: skip
