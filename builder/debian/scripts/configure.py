"""Maintainer scripts, evaluated: what they would have done to the tree is done, the rest is left to other handlers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from builder.debian.scripts.decisions import find_decision, require_modelled
from builder.debian.scripts.effects import Effect, EffectKind, Evaluation
from builder.debian.scripts.evaluate import (
    CALLS,
    ask,
    evaluate,
    evaluate_decided,
    make_own_installation,
)
from builder.debian.scripts.sandbox.run import run_config, run_script
from builder.debian.scripts.state import Records
from builder.debian.scripts.target_system import UNKNOWN, Installation
from builder.debian.scripts.work import Work
from builder.tree.node import Kind
from builder.tree.tree import Tree


def evaluate_scripts(work: Work) -> None:
    """Evaluate the scripts of all packages, in the order of ``work.scripts``, as the definition decided; keep what was
    found in ``work.evaluations``.

    Raises:
        InputError: a script does what build-os does not model, and the definition has not decided about.
    """
    records = Records()
    for package, scripts in work.scripts.items():
        work.evaluations.extend(_evaluate_package(work, package, scripts, records))
    require_modelled(work.evaluations, work.decisions, work.installation.versions)


def _evaluate_package(work: Work, package: str, scripts: Mapping[str, str], records: Records) -> list[Evaluation]:
    installation = make_own_installation(work.installation, package)
    decision = find_decision(work.decisions, package)
    if decision is not None and decision.answer == "sandbox":
        trial = evaluate(work.tree.copy(), package, scripts, installation, work.commands, records.copy())
        run = {evaluation.script for evaluation in trial if evaluation.unmodelled}
        if run:
            return _run_some(work, package, scripts, installation, records, trial, run)
    return evaluate_decided(work.tree, package, scripts, work.installation, work.commands, records, decision)


def _run_some(
    work: Work,
    package: str,
    scripts: Mapping[str, str],
    installation: Installation,
    records: Records,
    trial: list[Evaluation],
    run: set[str],
) -> list[Evaluation]:
    """The scripts in the order of an installation: those of ``run`` in the sandbox, the others evaluated. Before them
    comes ``config``, which asks debconf's questions."""
    if _ask(work, package, scripts, installation, records):
        scripts = {name: text for name, text in scripts.items() if name != "config"}
    done: list[Evaluation] = []
    calls = dict(CALLS)
    changed: list[str] = []
    for evaluation in trial:
        if evaluation.script in run:
            call = (evaluation.script, calls[evaluation.script])
            effects = run_script(work, installation, package, scripts, call, records)
            done.append(replace(evaluation, effects=effects))
            changed += [_in_full(work.tree, effect) for effect in effects if effect.kind is not EffectKind.ANSWER]
        else:
            only = {name: text for name, text in scripts.items() if name not in calls or name == evaluation.script}
            done += evaluate(work.tree, package, only, installation, work.commands, records)
    digest = hashlib.sha256("\n".join(sorted(changed)).encode(errors="surrogateescape")).hexdigest()
    work.ran[package] = f"{len(changed)} changes, sha256 {digest}"
    return done


def _ask(work: Work, package: str, scripts: Mapping[str, str], installation: Installation, records: Records) -> bool:
    """Have ``config`` extend the records. It is run where it is not understood, or where what it sets depends on what
    no evaluation knows: a script that is run needs an answer."""
    asked = records.copy()
    understood = ask(work.tree, package, scripts, installation, work.commands, asked)
    before = records.get_texts()
    if not understood or any(UNKNOWN in text and text != before.get(key) for key, text in asked.get_texts().items()):
        return run_config(work, installation, package, scripts, records)
    records.replace_by(asked)
    return True


def _in_full(tree: Tree, effect: Effect) -> str:
    """An effect with all that it made: a file's mode, owner and content."""
    node = tree.get(effect.name) if effect.name.startswith("/") else None
    if node is None or effect.kind is EffectKind.DROPPED:
        return str(effect)
    content = hashlib.sha256(node.content.read()).hexdigest() if node.kind is Kind.FILE else node.target
    return f"{effect} {node.kind} {node.mode:04o} {node.uid}:{node.gid} {content}"
