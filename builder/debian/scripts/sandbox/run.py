"""A maintainer script, run: in the sandbox, over a copy of the tree, because the definition says so.

It is run twice, in two copies. What comes out differently is random, or the machine's, or the moment's: a key, an
identity, a time. That, and what is a secret by its form, does not get into an image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from builder.core.errors import InputError, ToolError
from builder.core.parallel import run_parallel
from builder.core.tools import FOR_SCRIPTS
from builder.debian.scripts.effects import Effect, EffectKind
from builder.debian.scripts.evaluate import ASKING
from builder.debian.scripts.language.evaluator import Shell
from builder.debian.scripts.sandbox.helpers import ASKED, CALLS, make_debconf, make_environment, read_calls, write_notes
from builder.debian.scripts.sandbox.root import SHOWN, ScriptRoot
from builder.debian.scripts.state import Records
from builder.debian.scripts.subjects.debconf import read_templates
from builder.debian.scripts.subjects.desktop.caches import runs_here
from builder.debian.scripts.target_system import OWN, UNKNOWN, Installation, NotModelled, TargetSystem
from builder.debian.scripts.work import Work
from builder.tree.node import Inline, Kind, Node, make_file, make_symlink
from builder.tree.tree import Tree, TreeError

SANDBOX = "in the sandbox"
PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----|AGE-SECRET-KEY-1|PuTTY-User-Key-File-")
IDENTITIES = re.compile(
    r"/etc/machine-id|/var/lib/dbus/machine-id|/etc/ssh/ssh_host_.*|.*/random[-_]seed|/etc/hostid|/etc/nvme/host(nqn|id)"
    r"|/etc/iscsi/initiatorname\.iscsi|.*/\.rnd"
)
HASH = re.compile(r"[^:]*:(\$[^:]+|_?[./A-Za-z0-9]{13,})(:.*)?")
SHADOWS = ("/etc/shadow", "/etc/gshadow")
KINDS = {Kind.SYMLINK: EffectKind.LINK, Kind.DIRECTORY: EffectKind.DIRECTORY}
NOT_SHOWN = (
    "/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/help/",
    "/usr/share/icons/", "/usr/lib/modules/", "/usr/lib/firmware/", "/usr/include/",
)  # fmt: skip
LOGS = re.compile(r"/var/(log|crash|spool/mail|mail)/.*")


# Profiles are written when all packages are in; until then chsh and su, say, need some.
PAM = {
    f"/etc/pam.d/common-{name}": make_file(f"{name.partition('-')[0]} required pam_permit.so\n", origin=SANDBOX)
    for name in ("auth", "account", "password", "session", "session-noninteractive")
}


@dataclass
class Outcome:
    """What a script left behind, and how it called what only made a note."""

    changes: dict[str, Node | None] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)


def run_script(
    work: Work,
    installation: Installation,
    package: str,
    scripts: Mapping[str, str],
    call: tuple[str, tuple[str, ...]],
    records: Records,
) -> tuple[Effect, ...]:
    """Run one of a package's scripts, ``(name, arguments)``, and take over what it changes.

    Raises:
        InputError: it fails, or leaves behind what no image can have.
        CapabilityError: this machine does not allow the sandbox.
    """
    require_runs_here(work.tree, package)
    first, second = _run_twice(work, installation, package, scripts, call, records)
    effects = _take_over(work, first, second, package, call[0])
    return (*effects, *_replay(work, installation, first.calls, package, scripts, records))


def run_config(
    work: Work, installation: Installation, package: str, scripts: Mapping[str, str], records: Records
) -> bool:
    """Run a package's ``config`` as debconf does for an installation that nobody watches. It only asks (Policy 3.9.1),
    so ``records`` are all that is kept of it.

    Returns:
        whether it came to an end, with the same answers twice; if not, it is as if there were none.

    Raises:
        InputError: the image is of another architecture.
        CapabilityError: this machine does not allow the sandbox.
    """
    require_runs_here(work.tree, package)
    instead = "; its questions have the answers of 'debconf' in the definition and of its templates"
    try:
        first, second = _run_twice(work, installation, package, scripts, ("config", ASKING), records)
    except InputError as problem:
        work.tools.console.warn(f"{problem.what.removeprefix('scripts: ')}{instead}")
        return False
    if first.calls != second.calls:
        work.tools.console.warn(f"{package}: its config answers something else each time{instead}")
        return False
    asked = [call for call in first.calls if call[0] in ASKED]
    _replay(work, installation, asked, package, scripts, records)
    return True


def _run_twice(
    work: Work,
    installation: Installation,
    package: str,
    scripts: Mapping[str, str],
    call: tuple[str, tuple[str, ...]],
    records: Records,
) -> tuple[Outcome, Outcome]:
    name, arguments = call
    tree = _as_found(work.tree, package, name)
    known = {question: value for question, value in records.answers.items() if UNKNOWN not in value}
    for path, node in make_debconf({**_defaults(work), **installation.answers, **known}).items():
        tree.put(path, node)
    around = _beside(work)

    def once() -> Outcome:
        with ScriptRoot.make(work.tools, work.scratch, tree, around, work.large, f"package:{package}") as root:
            return _run_one(root, package, name, scripts[name], arguments, installation.arch)

    first, second = run_parallel(once, once)
    return first, second


def _as_found(tree: Tree, package: str, name: str) -> Tree:
    """The tree as dpkg would have it when it calls the script: a preinst comes before its package's own files. What
    makes up half of a tree and no script of another package reads is left out."""
    own = f"package:{package}"
    original = Tree(
        {
            path: node
            for path, node in tree.walk()
            if node.kind is Kind.DIRECTORY or node.origin == own or not path.startswith(NOT_SHOWN)
        }
    )
    if name == "preinst":
        for path in [path for path, node in tree.walk() if node.origin == own][::-1]:
            if not original.list_children(path):
                original.remove(path)
    return original


def require_runs_here(tree: Tree, package: str) -> None:
    """Refuse scripts of an image whose programs this machine does not run.

    Raises:
        InputError: it is of another architecture.
    """
    shell = tree.get("/bin/sh", follow=True)
    if shell is not None and shell.kind is Kind.FILE and not runs_here(shell.content.read()):
        raise InputError(
            f"scripts: {package}: a script of another architecture cannot be run on this machine",
            hint="build on a machine of the image's architecture, or declare what it does: 'effects', or 'ignore'",
        )


def _defaults(work: Work) -> dict[str, str]:
    """What the templates of all packages answer."""
    answers: dict[str, str] = {}
    for scripts in work.scripts.values():
        for question, fields in read_templates(scripts.get("templates", "")).items():
            default = fields.get("Default", "")
            answers[question] = default or ("false" if fields.get("Type") == "boolean" else "")
    return answers


def _beside(work: Work) -> dict[str, Node]:
    """What scripts call and the image may not have: programs of the tools tree, and links that are alternatives, which
    the image gets when all packages are in."""
    links = {**_helpers(work.tools.root), **PAM}
    for effect in work.list_effects(EffectKind.ALTERNATIVE):
        link, path = str(effect.data[0]), str(effect.data[1])
        links.setdefault(link, make_symlink(path, origin=SANDBOX))
    return links


@cache
def _helpers(root: Path) -> Mapping[str, Node]:
    listing = root / FOR_SCRIPTS
    helpers = {}
    for path in json.loads(listing.read_text()) if listing.exists() else ():
        place = root / path[1:]
        if place.is_symlink():
            helpers[path] = make_symlink(str(place.readlink()), origin=SANDBOX)
        else:
            helpers[path] = make_file(place.read_bytes(), place.stat().st_mode & 0o755, origin=SANDBOX)
    return helpers


def _run_one(root: ScriptRoot, package: str, name: str, text: str, arguments: tuple[str, ...], arch: str) -> Outcome:
    script = root.ours / "script"
    script.write_bytes(text.encode(errors="surrogateescape"))
    script.chmod(0o755)
    (root.ours / "bin").mkdir()
    programs = {path.rpartition("/")[2] for tree in (root.shown, root.beside) for path in _programs(tree)}
    write_notes(root.ours / "bin", programs)
    try:
        root.sandbox.run(f"{SHOWN}/script", *arguments, env=make_environment(package, name, arch))
    except ToolError as error:
        raise InputError(
            f"scripts: {package}: its {name} failed in the sandbox: {error.what.partition(' ')[2]}",
            details=error.details[1:],
            hint="declare what it does instead: 'effects', or 'ignore' with a reason",
        ) from error
    return Outcome(root.list_changes(f"package:{package}"), list(read_calls(root.sandbox.read_left_file(CALLS))))


def _programs(tree: Tree | Mapping[str, Node]) -> Iterator[str]:
    paths = tree if isinstance(tree, Mapping) else (path for path, _ in tree.walk("/usr"))
    return (path for path in paths if path.rpartition("/")[0] in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"))


# --- what is taken over --------------------------------------------------------------------------


def _take_over(work: Work, first: Outcome, second: Outcome, package: str, name: str) -> list[Effect]:
    tree = work.tree
    effects: list[Effect] = []
    changes = dict(first.changes)
    for path in sorted((path for path, node in changes.items() if node is None), reverse=True):
        if second.changes.get(path, path) is None:
            tree.remove(path)
            effects.append(Effect(EffectKind.REMOVE, path, SANDBOX))
    for path, node in changes.items():
        if node is None:
            continue
        known = tree.get(path)
        if name == "preinst" and known is not None and known.origin == f"package:{package}":
            continue  # dpkg unpacks it afterwards
        if known is not None and known.origin.startswith(OWN):
            node = node.copy_with(origin=known.origin)
        why = _refused(path, node, second.changes.get(path))
        if why:
            # A log of the installation is nobody's business; what a machine makes itself is no news.
            if not LOGS.fullmatch(path) and (known is None or not known.origin.startswith(OWN)):
                work.tools.console.warn(f"{package}: its {name} makes {path}, which is not in the image: {why}")
                effects.append(Effect(EffectKind.DROPPED, path, why))
            continue
        taken, hidden = _without_hashes(path, node)
        if hidden:
            work.tools.console.warn(f"{package}: its {name} sets a password of {hidden}, which is not in the image")
        try:
            tree.put(path, taken)
        except TreeError as problem:
            raise InputError(f"scripts: {package}: what its {name} makes cannot be in the image: {problem}") from None
        effects.append(Effect(KINDS.get(taken.kind, EffectKind.FILE), path, SANDBOX))
    for effect in effects:
        work.tools.console.log(f"{package}: its {name}, {SANDBOX}: {effect}")
    return effects


def _refused(path: str, node: Node, again: Node | None) -> str:
    """Why something cannot be in an image; empty if it can."""
    if IDENTITIES.fullmatch(path):
        return "it is the identity of a machine"
    if node.kind is Kind.FILE and PRIVATE_KEY.search(node.content.read()):
        return "it is a private key, which all machines would share"
    if node.kind is Kind.FILE and not node.origin.startswith(OWN) and UNKNOWN.encode() in node.content.read():
        return "it has something in it that each machine makes for itself"
    if again is None or not _same(node, again):
        return "it is another one each time: a secret, the identity of a machine, or a time"
    return ""


def _same(one: Node, other: Node) -> bool:
    if (one.kind, one.mode, one.uid, one.gid, one.target) != (
        other.kind,
        other.mode,
        other.uid,
        other.gid,
        other.target,
    ):
        return False
    return one.kind is not Kind.FILE or one.content.read() == other.content.read()


def _without_hashes(path: str, node: Node) -> tuple[Node, str]:
    """The file without passwords, and whose there were."""
    if path not in SHADOWS or node.kind is not Kind.FILE:
        return node, ""
    lines, names = [], []
    for line in node.content.read().decode(errors="surrogateescape").splitlines():
        if HASH.fullmatch(line):
            names.append(line.partition(":")[0])
            line = ":".join((names[-1], "!", *line.split(":")[2:]))
        lines.append(line + "\n")
    if not names:
        return node, ""
    return node.copy_with(content=Inline("".join(lines).encode(errors="surrogateescape"))), ", ".join(names)


def _replay(
    work: Work,
    installation: Installation,
    calls: Iterable[list[str]],
    package: str,
    scripts: Mapping[str, str],
    records: Records,
) -> tuple[Effect, ...]:
    """What the evaluator's models make of the calls that only made a note; ``records`` are extended."""
    system = TargetSystem(work.tree, installation, package)
    shell = Shell(system, work.commands, "", (), {})
    records.templates |= read_templates(scripts.get("templates", ""))
    shell.state.shared.records = records
    for name, *arguments in calls:
        try:
            work.commands[name].run(shell, arguments)
        except (NotModelled, TreeError) as problem:
            work.tools.console.warn(f"{package}: {' '.join([name, *arguments])} has no effect on the image: {problem}")
    return tuple(system.journal)
