"""What users get besides an account: sudo, units of their own, lingering; and who owns directories above files."""

from __future__ import annotations

import posixpath
import re

from firstboot.config.buildos.models import Parents
from firstboot.config.buildos.sugar_output import SugarOutput, is_below
from firstboot.config.checks.units import UNIT_TYPES
from firstboot.config.explain import describe_kind
from firstboot.config.models import Node, Owner, Unit, User
from firstboot.config.text import Path
from firstboot.config.unit_text import BadUnit, parse_options

_NAME = re.compile(r"[a-z_][a-z0-9_.-]*[$]?", re.IGNORECASE)
_HOME = re.compile(r"(/home/[^/]+)/.+")
LINGER = "/var/lib/systemd/linger"  # systemd-logind.service(8), loginctl(1)
SUDOERS = "/etc/sudoers.d"


def configure_users(output: SugarOutput) -> None:
    """Write the files of these settings."""
    for at, user, value in output.list_users("sudo"):
        if _is_on(value, at, output) and _is_plain(user, at, output):
            # A name with a dot would be skipped by sudo as a backup.
            path = f"{SUDOERS}/10-{user.name.replace('.', '_')}"
            output.add_directory(SUDOERS, at, mode=0o750)
            output.add_file(path, f"{user.name} ALL=(ALL:ALL) NOPASSWD: ALL\n", at, mode=0o440)
    for at, user, value in output.list_users("linger"):
        if _is_on(value, at, output) and _is_plain(user, at, output):
            output.add_directory(LINGER, at)
            output.add_file(f"{LINGER}/{user.name}", "", at)
    for at, user, _ in output.list_users("units"):
        if _is_plain(user, at, output):
            for here, unit in output.list_parts(Unit, *at):
                _install(unit, user, here, output)


def _is_on(value: object, at: Path, output: SugarOutput) -> bool:
    if not isinstance(value, bool):
        output.complain(at, f"expected true or false, found {describe_kind(value)}")
    return value is True


def _is_plain(user: User, at: Path, output: SugarOutput) -> bool:
    """Whether a name can stand in paths and in a line for sudo."""
    if _NAME.fullmatch(user.name):
        return True
    output.complain(at, f"'{user.name}' cannot be the name of a user", on_key=True)
    return False


def get_home(user: User) -> str:
    """The home that a user gets."""
    return user.home_dir or ("/root" if user.name == "root" else f"/home/{user.name}")


def _install(unit: Unit, user: User, at: Path, output: SugarOutput) -> None:
    """A unit of a user's own systemd, enabled by links as systemctl would make them (systemd.unit(5))."""
    if not unit.name.endswith(tuple(f".{kind}" for kind in UNIT_TYPES)) or "/" in unit.name:
        output.complain((*at, "name"), f"'{unit.name}' is not the name of a unit")
        return
    owner = Owner(name=user.name)
    group = Owner(name=user.primary_group or (None if user.no_user_group else user.name))
    home = get_home(user)
    directory = f"{home}/.config/systemd/user"
    path = f"{directory}/{unit.name}"

    def make_directories(*paths: str) -> None:
        for path in paths:
            output.add_directory(path, at, user=owner, group=group)

    make_directories(f"{home}/.config", f"{home}/.config/systemd", directory)
    if unit.mask:
        output.add_link(path, "/dev/null", at, user=owner, group=group)
        return
    if unit.contents is not None:
        output.add_file(path, unit.contents, at, user=owner, group=group)
    for index, dropin in enumerate(unit.dropins):
        if not dropin.name.endswith(".conf") or "/" in dropin.name:
            output.complain((*at, "dropins", index, "name"), f"'{dropin.name}' is not the name of a drop-in")
            continue
        make_directories(f"{path}.d")
        output.add_file(f"{path}.d/{dropin.name}", dropin.contents or "", at, user=owner, group=group)
    if not unit.enabled:
        return
    links = _wanted(unit, at, output)
    if links is None:
        return
    if not links:
        output.complain(
            (*at, "enabled"),
            f"'{unit.name}' has nothing in [Install] that would start it",
            "write WantedBy=default.target below [Install] in its contents",
        )
    target = path if unit.contents is not None else f"/usr/lib/systemd/user/{unit.name}"
    for link in links:
        make_directories(f"{directory}/{posixpath.dirname(link)}")
        output.add_link(f"{directory}/{link}", target, at, user=owner, group=group)


def _wanted(unit: Unit, at: Path, output: SugarOutput) -> list[str] | None:
    """The links that enable a unit, below the directory of units; ``None`` if its text is none."""
    if unit.contents is None:
        return [f"default.target.wants/{unit.name}"]
    try:
        options = parse_options(unit.contents)
    except BadUnit as error:
        output.complain((*at, "contents"), f"line {error.line} of the unit: {error}")
        return None
    links: list[str] = []
    for section, name, value in options:
        if section == "Install" and name in ("WantedBy", "RequiredBy"):
            kind = "wants" if name == "WantedBy" else "requires"
            links += [f"{target}.{kind}/{unit.name}" for target in value.split() if "/" not in target]
    return links


def add_parents(output: SugarOutput) -> None:
    """Directories between a place that is there and a node, with an owner of their own."""
    for at, node in output.list_nodes("parents"):
        parents = output.find_part(Parents, at)
        if parents is not None:
            _own(node, parents, at, output)


def _own(node: Node, parents: Parents, at: Path, output: SugarOutput) -> None:
    home = _HOME.fullmatch(node.path)
    below = parents.below or (home[1] if home else None)
    if below is None:
        hint = "name the directory that is there already: below: /var/lib"
        output.complain(at, f"how much of '{node.path}' is to be made is not known", hint, on_key=True)
        return
    if not is_below(node.path, below):
        output.complain((*at, "below"), f"'{node.path}' is not below '{below}'")
        return
    mode = 0o755 if parents.mode is None else parents.mode
    if not 0 <= mode <= 0o7777:
        output.complain((*at, "mode"), f"the mode {mode} is not between 0 and 07777")
        return
    directory = posixpath.dirname(node.path)
    made: list[str] = []
    while directory != below.rstrip("/") and directory != "/":
        made.append(directory)
        directory = posixpath.dirname(directory)
    for path in reversed(made):
        other = output.find_directory(path)
        if other is not None and (other.mode, other.user, other.group) != (mode, parents.user, parents.group):
            output.complain(at, f"something else in this config gives '{path}' another owner or mode", on_key=True)
        output.add_directory(path, at, mode=mode, user=parents.user, group=parents.group)
