"""Maintainer scripts, evaluated: what they would have done to the tree is done, the rest is left to other handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from builder.debian.handlers.sandbox import run_scripts
from builder.debian.handlers.work import Work
from builder.debian.scripts.decisions import require_accounted
from builder.debian.scripts.evaluate import Evaluation, before_installation, evaluate, evaluate_decided


def evaluate_scripts(work: Work) -> None:
    """Evaluate the scripts of all packages, in the order of ``work.scripts``, as the definition decided; keep what was
    found in ``work.evaluations``.

    Raises:
        ConfigError: a script does what nobody speaks for and the definition has not decided about.
    """
    answers: dict[str, str] = {}
    for package, scripts in work.scripts.items():
        work.evaluations.extend(_evaluate_package(work, package, scripts, answers))
    require_accounted(work.evaluations, work.decisions, work.installation.versions)


def _evaluate_package(
    work: Work, package: str, scripts: Mapping[str, str], answers: dict[str, str]
) -> list[Evaluation]:
    installation = before_installation(work.installation, package)
    decision = work.decisions.get(package)
    if decision is not None and decision.answer == "sandbox":
        trial = evaluate(work.tree.copy(), package, scripts, installation, dict(answers))
        names = [each.script for each in trial if each.unaccounted]
        if names:
            understood = {name: text for name, text in scripts.items() if name not in names}
            done = evaluate(work.tree, package, understood, installation, answers)
            effects = run_scripts(work, package, scripts, names)
            ran = [replace(each, effects=effects) for each in trial if each.script == names[0]]
            return [*done, *ran, *(replace(e, effects=()) for e in trial if e.script in names[1:])]
    return evaluate_decided(work.tree, package, scripts, work.installation, answers, decision)
