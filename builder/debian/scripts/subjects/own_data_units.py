"""What every machine makes for itself, once: secrets and databases that packages make when they are installed.

For each package with such a thing there is a unit, ``own-data-PACKAGE.service``. It runs before the package's own
units, or before any service if the package has none, and leaves a mark in ``/var``. What is there already stays as it
is: a first-boot config may bring a key of its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from builder.core.errors import InputError
from builder.debian.scripts.effects import Effect, EffectKind
from builder.debian.scripts.subjects.builtins import CONFMODULE
from builder.debian.scripts.subjects.debconf import read_templates
from builder.debian.scripts.subjects.own_data_programs import find_missing, find_questions
from builder.debian.scripts.target_system import OWN
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.node import Kind, Node, make_file, make_symlink
from builder.tree.tree import Tree
from firstboot.config.account_files import parse_rows

# Functions of debconf's library that only matter to somebody who is asked.
SILENT = ("version", "capb", "title", "settitle", "stop", "set", "subst", "fset", "metaget", "go", "beginblock",
          "endblock", "progress", "register", "unregister", "reset", "purge", "info", "clear")  # fmt: skip
PROGRAMS, MARKS, UNITS = "/usr/lib/build-os/own-data", "/var/lib/build-os/own-data", "/usr/lib/systemd/system"


def install_own_data(work: Work) -> None:
    """Take out what stands for such files while scripts are evaluated; write a program and a unit a package."""
    tree = work.tree
    places = {path: node for path, node in tree.walk() if node.origin.startswith(OWN)}
    for path in sorted(places, reverse=True):
        if not tree.list_children(path) if places[path].kind is Kind.DIRECTORY else True:
            tree.remove(path)
    for package in sorted({node.origin.removeprefix(OWN) for node in places.values()} | _fill_directories(work)):
        # What a script writes in several goes is written once, as it is at the end.
        effects = list(
            {
                (effect.name, str(effect.data[0]).startswith("mv ")): effect
                for evaluation in work.evaluations
                if evaluation.package == package
                for effect in evaluation.effects
                if effect.kind is EffectKind.OWN_DATA
            }.values()
        )
        if not work.has(UNITS):
            made = ", ".join(path for effect in effects for path in _paths(effect) if not path.endswith("*"))
            work.tools.console.warn(f"{package}: nobody makes {made}: there is no systemd in the image")
            continue
        _require_programs(work, package, effects)
        units = [str(unit) for effect in effects for unit in _units(effect)] or _units_of(tree, package)
        tree.put(f"{PROGRAMS}/{package}", make_file(program(tree, package, effects, places), 0o755, origin=ORIGIN))
        name = f"own-data-{package}.service"
        paths = [path for effect in effects for path in _paths(effect) if path in places or path.endswith("*")]
        early = any(_is_early(tree, unit) for unit in units)
        tree.put(f"{UNITS}/{name}", make_file(make_unit(package, paths, units, early=early), origin=ORIGIN))
        for unit in units or ["basic.target"]:
            tree.put(f"{UNITS}/{unit}.wants/{name}", make_symlink(f"../{name}", origin=ORIGIN))


def _fill_directories(work: Work) -> set[str]:
    """Packages that have programs for directories that are there, and nothing stands for what those put into them."""
    return {
        evaluation.package
        for evaluation in work.evaluations
        for effect in evaluation.effects
        if effect.kind is EffectKind.OWN_DATA and all(path.endswith("/*") for path in _paths(effect))
    }


def _require_programs(work: Work, package: str, effects: Sequence[Effect]) -> None:
    """Put in what stands for debconf where one of the programs asks it, and see that everything else is there.

    Raises:
        InputError: a machine could not run them.
    """
    text = "\n".join(str(effect.data[0]) for effect in effects)
    questions = find_questions(work.tree, text)
    if questions and not work.has(CONFMODULE):
        work.tree.put(CONFMODULE, make_file(stand_in(work, questions), origin=ORIGIN))
    if missing := find_missing(work.tree, text):
        raise InputError(
            f"each machine must make for itself what {package} makes when it is installed, and could not",
            details=missing,
            hint="add the package that has it to 'packages', or decide about the scripts of this one ('scripts:')",
        )


def stand_in(work: Work, questions: Iterable[str]) -> str:
    """A library of shell functions for programs that ask debconf where there is none: answers are the definition's,
    or the defaults of the questions; nobody is asked.
    """
    lines = [
        "# Stands for debconf, which is not in this image: questions have the answers that they had when it was made.",
        "RET=",
        *(f"db_{name}() {{ RET=; }}" for name in SILENT),
        "db_input() { RET=; return 30; }",
        "db_fget() { RET=false; }",
        "db_get() {",
        "    RET=",
        '    case "$1" in',
    ]
    templates = {
        name: fields.get("Default", "")
        for scripts in work.scripts.values()
        for name, fields in read_templates(scripts.get("templates", "")).items()
    }
    for question in sorted(questions):
        answer = work.installation.answers.get(question, templates.get(question))
        if answer is not None:
            lines.append(f"        {shlex.quote(question)}) RET={shlex.quote(answer)} ;;")
    return "\n".join([*lines, "        *) return 10 ;;", "    esac", "}", ""])


def _paths(effect: Effect) -> Sequence[str]:
    paths = effect.data[1]
    assert isinstance(paths, tuple)
    return paths


def _units(effect: Effect) -> Sequence[str]:
    units = effect.data[2]
    assert isinstance(units, tuple)
    return units


def _units_of(tree: Tree, package: str) -> list[str]:
    """The services and sockets that a package brings, without templates."""
    return [
        name
        for name in tree.list_children(UNITS)
        if name.endswith((".service", ".socket"))
        and "@" not in name
        and (node := tree.get(f"{UNITS}/{name}")) is not None
        and node.origin == f"package:{package}"
        and node.kind is Kind.FILE
    ]


def program(tree: Tree, package: str, effects: Iterable[Effect], places: dict[str, Node]) -> str:
    """The shell program of a package."""
    users, groups = _names(tree, "/etc/passwd"), _names(tree, "/etc/group")
    lines = [
        "#!/bin/sh",
        f"# What the scripts of {package} make when it is installed, and no two machines may share.",
        "set -e",
        "export LANG=${LANG:-C.UTF-8}",
    ]
    for effect in effects:
        paths = [path for path in _paths(effect) if path in places]
        if not paths and not str(effect.data[0]).startswith("mv "):
            paths = [path for path in _paths(effect) if not path.endswith("*")]
        there = "".join(f"[ -e {shlex.quote(path)} ] && " for path in paths).removesuffix("&& ")
        # A file may be a key from its first byte on; a directory is for the user whom the program gives it to.
        secret = bool(paths) and all(path not in places or places[path].kind is Kind.FILE for path in paths)
        command = str(effect.data[0])
        lines += [f"{there}|| {{" if there else "{", f"    umask {'077' if secret else '022'}"]
        target = f" >{shlex.quote(paths[0])}" if len(paths) == 1 else ""
        if target and command.endswith(target):
            # What is cut short must not be taken for what is there.
            fresh = shlex.quote(f"{paths[0]}.new")
            lines += [f"    {command.removesuffix(target)} >{fresh}", f"    mv {fresh} {shlex.quote(paths[0])}"]
        else:
            lines.append(f"    {command}")
        for path in paths:
            node = places.get(path)
            # Programs that make a whole directory give it its owner themselves.
            if node is not None and node.kind is Kind.FILE:
                owner = f"{users.get(node.uid, node.uid)}:{groups.get(node.gid, node.gid)}"
                lines += [f"    chown {owner} {shlex.quote(path)}", f"    chmod {node.mode:04o} {shlex.quote(path)}"]
        lines.append("}")
    lines += ["umask 022", f"mkdir -p {MARKS}", f": >{MARKS}/{package}"]
    return "\n".join([*lines, ""])


# Where /var has what the image declares (systemd-tmpfiles(8)); /etc is there from the start.
EARLY = "local-fs.target systemd-tmpfiles-setup.service"


def _is_early(tree: Tree, unit: str) -> bool:
    """Whether a unit may be started before ``sysinit.target``: systemd does not order it itself."""
    path = f"{UNITS}/{unit}"
    return path in tree and "\nDefaultDependencies=no" in tree.read_text(path)


def make_unit(package: str, paths: Sequence[str], units: Sequence[str], *, early: bool = False) -> str:
    """The unit of a package.

    It orders itself: what systemd would add puts it after ``basic.target``, which waits for sockets, and so for this
    unit if the package brings one.

    Args:
        units: what it is to run before.
        early: whether one of them may be started before ``sysinit.target``.
    """
    before = " ".join(units) if units else "basic.target"
    after = "sysinit.target"
    if early:
        after = "" if all(path.startswith("/etc/") for path in paths) else EARLY
    lines = [
        "[Unit]",
        f"Description=Make what {package} has on this machine alone",
        f"ConditionPathExists=!{MARKS}/{package}",
        *(f"X-Makes={path}" for path in paths),
        "DefaultDependencies=no",
        *([f"After={after}"] if after else []),
        "Conflicts=shutdown.target",
        f"Before={before} shutdown.target",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={PROGRAMS}/{package}",
    ]
    return "\n".join([*lines, ""])


def _names(tree: Tree, path: str) -> dict[int, str]:
    rows = parse_rows(tree.read_text(path)) if path in tree else []
    return {int(row[2]): row[0] for row in reversed(rows)}
