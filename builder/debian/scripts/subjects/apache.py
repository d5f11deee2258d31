"""a2enmod(8), a2enconf(8), a2ensite(8): links into ``*-enabled``, with those a module depends on; a2query(1)."""

from __future__ import annotations

import re
from collections.abc import Callable

from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models
from builder.debian.scripts.subjects.options import read_options
from builder.debian.scripts.target_system import NotModelled

ROOT = "/etc/apache2"
STATE = "/var/lib/apache2"
# (directory, suffixes of what is linked, name of the kind below STATE)
MODULES = ("mods", (".load", ".conf"), "module")
CONFIGURATIONS = ("conf", (".conf",), "conf")
SITES = ("sites", (".conf",), "site")


def enabler(directory: str, suffixes: tuple[str, ...], kind: str) -> Callable[[Shell, list[str]], Status]:
    """The program that enables what is in ``DIRECTORY-available``."""

    def run(shell: Shell, arguments: list[str]) -> Status:
        options = read_options("a2enmod", arguments, "q m f quiet maintmode force")
        by_maintainer = bool({"m", "maintmode"} & options.given.keys())
        for name in options.operands:
            if not _enable(shell, name, directory, suffixes, kind, by_maintainer, ()):
                return 1
        return 0

    return run


def _enable(
    shell: Shell,
    name: str,
    directory: str,
    suffixes: tuple[str, ...],
    kind: str,
    by_maintainer: bool,
    asking: tuple[str, ...],
) -> bool:
    text = shell.system.read(f"{ROOT}/{directory}-available/{name}{suffixes[0]}")
    if text is None:
        return False
    for needed in _words(text, "Depends"):
        if needed not in asking and not _enable(
            shell, needed, directory, suffixes, kind, by_maintainer, (*asking, name)
        ):
            return False
    for other in _words(text, "Conflicts"):
        if shell.system.get(f"{ROOT}/{directory}-enabled/{other}{suffixes[0]}") is not None:
            raise NotModelled(f"{name} excludes {other}, which is enabled")
    for suffix in suffixes:
        target = f"{directory}-available/{name}{suffix}"
        link = f"{ROOT}/{directory}-enabled/{name}{suffix}"
        if shell.system.get(f"{ROOT}/{target}") is not None and shell.system.get(link, follow=False) is None:
            shell.system.link(link, f"../{target}")
    mark = f"{STATE}/{kind}/enabled_by_{'maint' if by_maintainer else 'admin'}/{name}"
    if shell.system.get(mark) is None:
        shell.system.write(mark, "")
    return True


def _words(text: str, field: str) -> list[str]:
    return [word for line in re.findall(rf"^# {field}:(.*)$", text, re.M) for word in line.split()]


def a2query(shell: Shell, arguments: list[str]) -> Status:
    """``a2query [-q] -m MODULE | -c CONF | -s SITE``: whether it is enabled, and if not, who turned it off; ``-M``."""
    options = read_options("a2query", arguments, "q M", "m c s")
    modules = _enabled(shell, MODULES)
    if modules is None:
        return 1
    said, status = "", 0
    for letter, kind in (("m", MODULES), ("s", SITES), ("c", CONFIGURATIONS)):
        if letter not in options:
            continue
        name = re.sub(r"\.(conf|load)", "", options.given[letter].removeprefix("mod"), count=1)
        if name in (_enabled(shell, kind) or ()):
            who = {"admin": "site administrator", "maint": "maintainer script"}.get(_by(shell, kind, "enabled", name))
            said += f"{name} (enabled by {who or 'unknown'})\n"
        else:
            status = {"admin": 32, "maint": 33}.get(_by(shell, kind, "disabled", name), 1)
            break
    else:
        if "M" in options:
            kinds = [name.removeprefix("mpm_") for name in modules if name.startswith("mpm_")]
            said += f"{kinds[0] if kinds else 'invalid'}\n"
        elif not options.given.keys() - {"q"}:
            raise NotModelled("a2query without a question")
    if "q" not in options:
        shell.say(said)
    return status


def _enabled(shell: Shell, kind: tuple[str, tuple[str, ...], str]) -> list[str] | None:
    directory, suffixes, _ = kind
    if shell.system.get(f"{ROOT}/{directory}-enabled") is None:
        return None
    names = shell.system.list_children(f"{ROOT}/{directory}-enabled")
    return [name.removesuffix(suffixes[0]) for name in names if name.endswith(suffixes[0])]


def _by(shell: Shell, kind: tuple[str, tuple[str, ...], str], what: str, name: str) -> str:
    for who in ("maint", "admin"):
        if shell.system.get(f"{STATE}/{kind[2]}/{what}_by_{who}/{name}"):
            return who
    return ""


COMMANDS = make_models({
    "a2enmod": enabler(*MODULES), "a2enconf": enabler(*CONFIGURATIONS), "a2ensite": enabler(*SITES), "a2query": a2query,
})  # fmt: skip
