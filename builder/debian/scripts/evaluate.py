"""A package's scripts, evaluated in the order and with the arguments of a first installation.

Source: Debian Policy 6.5 and 6.6 (how scripts are called), deb-maintscript(5), dpkg(1) (their environment).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from builder.core.errors import InputError
from builder.debian.scripts.decisions import Decision, DeclaredEffect
from builder.debian.scripts.effects import Effect, Evaluation, UnmodelledLines
from builder.debian.scripts.language.control_flow import Exit, Leave, TooLong
from builder.debian.scripts.language.evaluator import Commands, Shell
from builder.debian.scripts.language.interpreter import SHELLS, find_interpreter
from builder.debian.scripts.language.parser import parse
from builder.debian.scripts.language.words import ScriptSyntaxError
from builder.debian.scripts.state import Records
from builder.debian.scripts.subjects.debconf import read_templates
from builder.debian.scripts.target_system import Installation, NotModelled, TargetSystem
from builder.tree.tree import Tree, TreeError

# (script, arguments): what dpkg calls when a package is installed for the first time.
ASKING = ("configure", "")
CALLS = (("preinst", ("install",)), ("postinst", ("configure", "")))
# What an installation without a terminal speaks: every Debian has it, and it is nobody's.
LANGUAGE = "C.UTF-8"


def evaluate_decided(
    tree: Tree,
    package: str,
    scripts: Mapping[str, str],
    installation: Installation,
    commands: Commands,
    records: Records,
    decision: Decision | None,
) -> list[Evaluation]:
    """Evaluate the scripts of a package; where they are not understood and effects are declared, make those as well.

    Args:
        installation: of the whole image, the package's own version included.
    """
    evaluations = evaluate(tree, package, scripts, make_own_installation(installation, package), commands, records)
    if (
        decision is not None
        and decision.answer == "effects"
        and any(evaluation.unmodelled for evaluation in evaluations)
    ):
        declared = apply_declared(tree, package, decision.effects, installation.arch, commands)
        evaluations[-1] = replace(evaluations[-1], effects=(*evaluations[-1].effects, *declared))
    return evaluations


def make_own_installation(installation: Installation, package: str) -> Installation:
    """The same for a package's own scripts: one that is being installed has no version yet."""
    others = {name: version for name, version in installation.versions.items() if name != package}
    return replace(installation, versions=others)


def evaluate(
    tree: Tree,
    package: str,
    scripts: Mapping[str, str],
    installation: Installation,
    commands: Commands,
    records: Records | None = None,
) -> list[Evaluation]:
    """Evaluate the scripts of a package that is being installed, and change the tree as they would.

    Args:
        scripts: texts by name, ``templates`` among them.
        records: of the package system, so far; extended.
    """
    evaluations: list[Evaluation] = []
    known = Records() if records is None else records
    unasked = not ask(tree, package, scripts, installation, commands, known)
    for name, arguments in CALLS:
        if name in scripts:
            evaluations.append(
                _evaluate_one(tree, package, name, scripts, arguments, installation, commands, known, unasked=unasked)
            )
    return evaluations


def ask(
    tree: Tree,
    package: str,
    scripts: Mapping[str, str],
    installation: Installation,
    commands: Commands,
    records: Records,
) -> bool:
    """Evaluate a package's ``config``, if it has one, and extend the records.

    Returns:
        whether it is understood; if not, the records are as they were.
    """
    if "config" not in scripts:
        return True
    # It only asks (Policy 3.9.1), so it works on copies; one that is not understood leaves the templates' defaults.
    asked = records.copy()
    config = _evaluate_one(tree.copy(), package, "config", scripts, ASKING, installation, commands, asked)
    if config.unmodelled:
        return False
    records.replace_by(asked)
    return True


def _evaluate_one(
    tree: Tree,
    package: str,
    name: str,
    scripts: Mapping[str, str],
    arguments: tuple[str, ...],
    installation: Installation,
    commands: Commands,
    records: Records,
    *,
    unasked: bool = False,
) -> Evaluation:
    text = scripts[name]
    program = find_interpreter(text)
    lines = text.splitlines()
    if program not in SHELLS:
        what = f"it is written in {program}" if program else "it is no script"
        shown = lines[0][:80] if lines and lines[0].isprintable() else ""
        return Evaluation(package, name, (), (UnmodelledLines(1, max(len(lines), 1), shown, what),))
    system = TargetSystem(tree, installation, package, hidden=f"package:{package}" if name == "preinst" else "")
    shell = Shell(system, commands, text, arguments, _environment(package, name, installation))
    own = read_templates(scripts.get("templates", ""))
    shell.state.shared.records = records.copy()
    shell.records.templates |= own
    shell.unasked, shell.own_questions = unasked, frozenset(own)
    shell.state.exit_on_error = " -e" in text.partition("\n")[0]
    try:
        shell.run(parse(text))
    except ScriptSyntaxError as error:
        line = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
        shell.unmodelled.append(UnmodelledLines(error.line, error.line, line, error.what))
    except TooLong:
        shell.unmodelled.append(UnmodelledLines(1, len(lines), "", "it does not come to an end"))
    except Exit as leave:
        if leave.status and not shell.unmodelled:
            first, last = shell.position
            shell.unmodelled.append(
                UnmodelledLines(
                    first,
                    last,
                    "\n".join(lines[first - 1 : last]),
                    "it would fail here, with status " + str(leave.status),
                )
            )
    except (Leave, NotModelled) as problem:
        first, last = shell.position
        shell.unmodelled.append(UnmodelledLines(first, last, "\n".join(lines[first - 1 : last]), str(problem)))
    records.replace_by(shell.records)
    system.sweep()
    return Evaluation(package, name, tuple(system.journal), tuple(shell.unmodelled))


def _environment(package: str, name: str, installation: Installation) -> dict[str, str]:
    return {
        "DPKG_MAINTSCRIPT_PACKAGE": package,
        "DPKG_MAINTSCRIPT_NAME": name,
        "DPKG_MAINTSCRIPT_ARCH": installation.arch,
        "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
        "DPKG_MAINTSCRIPT_DEBUG": "0",
        "DPKG_ADMINDIR": "/var/lib/dpkg",
        "DPKG_ROOT": "",
        "DPKG_RUNNING_VERSION": installation.versions.get("dpkg", ""),
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "HOME": "/root",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": LANGUAGE,
        "IFS": " \t\n",
    }


def apply_declared(
    tree: Tree, package: str, effects: Iterable[DeclaredEffect], arch: str, commands: Commands
) -> tuple[Effect, ...]:
    """Do what a definition declares.

    Raises:
        InputError: it cannot be done in this tree.
    """
    system = TargetSystem(tree, Installation(arch, {}), package)
    shell = Shell(system, commands, "", (), {})
    for effect in effects:
        try:
            status = _apply(shell, effect)
        except (NotModelled, TreeError) as problem:
            raise InputError(f"scripts: {package}: {effect.kind} {effect.name} cannot be made: {problem}") from problem
        if status != 0:
            raise InputError(
                f"scripts: {package}: {effect.kind} {effect.name} cannot be made",
                hint="is something of that name there already, or its parent missing?",
            )
    return tuple(system.journal)


def _apply(shell: Shell, effect: DeclaredEffect) -> int | None:
    def call(*words: str) -> int | None:
        return shell.commands[words[0]].run(shell, list(words[1:]))

    match effect.kind:
        case "directory":
            status = call("mkdir", "-p", effect.name)
        case "file":
            shell.system.write(effect.name, effect.text)
            status = 0
        case "link":
            return call("ln", "-sfn", effect.target, effect.name)
        case "user":
            home = ("--home", effect.home, "--shell", effect.shell, "--no-create-home")
            return call("adduser", "--system", "--group", *home, effect.name)
        case "group":
            return call("addgroup", "--system", effect.name)
        case _:
            status = 0  # "change": what is there
    if status == 0 and effect.owner:
        status = call("chown", effect.owner, effect.name)
    if status == 0 and effect.mode is not None:
        status = call("chmod", f"{effect.mode:05o}", effect.name)
    return status
