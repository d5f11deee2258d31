"""Debs into a tree, and what their maintainer scripts would have done, declared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from builder.core.console import Console
from builder.core.store import Store
from builder.debian.lock import LockedPackage, LockedRun
from builder.debian.scripts.decisions import Decision, DeclaredEffect, find_unused_decisions
from builder.definition.scalars import Scalar
from builder.definition.scripts import ScriptDecision, ScriptDeclared, ScriptEffect, ScriptIgnored
from builder.stages.stage import Context
from builder.tree.tree import Tree
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.debian import database, unpack
    from builder.debian.pack import Pack
    from builder.debian.scripts import diversions, order
    from builder.debian.scripts.language.evaluator import Commands
    from builder.debian.scripts.work import Work
else:
    # A build that unpacks nothing needs to know what this stage is made of, and no more.
    database, unpack = import_lazily("builder.debian.database"), import_lazily("builder.debian.unpack")
    diversions = import_lazily("builder.debian.scripts.diversions")
    order = import_lazily("builder.debian.scripts.order")

# Decompression keeps a core busy; reading and hashing the next deb fits beside it.
JOBS = (os.cpu_count() or 1) + 1
SCRIPTS = ("preinst", "postinst", "config", "templates")


@dataclass(frozen=True)
class Packages:
    """Unpack every locked package and run the handlers in place of their scripts."""

    name: ClassVar[str] = "packages"
    checkpoint: ClassVar[bool] = True

    packages: tuple[LockedPackage, ...]
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The packages' files, recorded and configured."""
        from builder.debian.scripts.table import open_commands  # noqa: PLC0415 - every plan imports this module

        with open_commands(context.tools, context.store) as commands:
            with context.console.open_step("unpack packages"):
                packs = unpack.unpack_all(
                    self.packages, context.store, context.console, jobs=JOBS, refetch=context.refetch
                )
                tree = unpack.unpack_tree(packs, tree, diversions.find_diversions(packs, commands))
                database.install_database(tree, packs)
            work = make_work(tree, packs, context, commands, self.decisions, self.answers, self.excluded)
            configure(work, context.console, store=context.store)
        context.runs.extend(list_runs("image", work))
        return tree


def list_runs(group: str, work: Work) -> list[LockedRun]:
    """What scripts that were run changed, for the lock."""
    return [LockedRun(group, package, changes) for package, changes in work.ran.items()]


def configure(work: Work, console: Console, *, steps: Console | None = None, store: Store | None = None) -> None:
    """Run every handler over the tree.

    Args:
        console: is told of decisions that decide nothing.
        steps: where the handlers' steps are shown, if not there.
        store: where indexes are looked for and left.

    Raises:
        InputError: a script does what build-os does not model and the definition has not decided about.
    """
    from builder.debian.scripts.handlers import run_handlers  # noqa: PLC0415 - only a build that unpacks needs them

    run_handlers(work, steps or console, store)
    for warning in find_unused_decisions(work.evaluations, work.decisions, work.scripts):
        console.warn(warning)


def make_work(
    tree: Tree,
    packs: Sequence[Pack],
    context: Context,
    commands: Commands,
    decisions: Mapping[str, Decision],
    answers: Mapping[str, str],
    excluded: Iterable[str] = (),
) -> Work:
    """What the handlers are given: the scripts in the order in which packages are configured."""
    from builder.debian.scripts.target_system import Installation  # noqa: PLC0415 - as above
    from builder.debian.scripts.work import Work  # noqa: PLC0415

    by_name = {pack.name: pack for pack in packs}
    scripts = {
        name: {script: text for script in SCRIPTS if (text := by_name[name].find_script(script)) is not None}
        for name in order.sort_for_configuration({pack.name: pack.control for pack in packs})
    }
    architectures = {pack.package.architecture for pack in packs} - {"all"}
    versions = {pack.name: pack.package.version for pack in packs}
    installation = Installation(min(architectures, default="all"), versions, answers, frozenset(excluded))
    return Work(tree, scripts, context.tools, context.scratch, commands, installation, decisions)


def make_decision(decided: ScriptDecision) -> Decision:
    """A decision of the definition, for the handlers."""
    if isinstance(decided, ScriptIgnored):
        return Decision("ignore", decided.ignore)
    if isinstance(decided, ScriptDeclared):
        return Decision("effects", effects=tuple(map(_declared, decided.effects)))
    return Decision("sandbox")


def _declared(effect: ScriptEffect) -> DeclaredEffect:
    name = getattr(effect, effect.kind)
    fields = {key: getattr(effect, key) for key in ("mode", "text", "target", "home", "shell")}
    return DeclaredEffect(effect.kind, name, owner=effect.owner or "", **fields)


def format_answer(value: Scalar) -> str:
    """An answer as debconf has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
