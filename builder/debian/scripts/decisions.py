"""What a definition decides about scripts that do what build-os does not model, and the error that asks for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from builder.core.errors import InputError
from builder.debian.scripts.effects import Evaluation

SHOWN = 12
DEFAULT = "default"  # stands for every package about which nothing else was decided; none has that name
Kind = Literal["directory", "file", "link", "change", "user", "group"]


@dataclass(frozen=True)
class DeclaredEffect:
    """One thing that a definition says a script does; which one, its ``kind`` says.

    Attributes:
        name: a path, or the name of a user or group.
        owner: ``user`` or ``user:group``; empty for root.
        mode: permission bits; ``None`` for what the kind has by default.
        text: of a file; target: of a link; home and shell: of a user.
    """

    kind: Kind
    name: str
    owner: str = ""
    mode: int | None = None
    text: str = ""
    target: str = ""
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"


@dataclass(frozen=True)
class Decision:
    """What is done about a package's scripts: nothing (for a ``reason``), what is declared, or they are run."""

    answer: Literal["ignore", "effects", "sandbox"]
    reason: str = ""
    effects: tuple[DeclaredEffect, ...] = field(default=())


def find_decision(decisions: Mapping[str, Decision], package: str) -> Decision | None:
    """What the definition decided about a package, or about all that it does not name."""
    return decisions.get(package, decisions.get(DEFAULT))


def require_modelled(
    evaluations: Sequence[Evaluation], decisions: Mapping[str, Decision], versions: Mapping[str, str]
) -> None:
    """Refuse scripts that do what build-os does not model and about which nothing was decided.

    Raises:
        InputError: there are some; shows packages, versions, scripts, lines, and what can be decided.
    """
    open_ones = [
        evaluation
        for evaluation in evaluations
        if evaluation.unmodelled and find_decision(decisions, evaluation.package) is None
    ]
    if not open_ones:
        return
    details: list[str] = []
    for evaluation in open_ones:
        details.append(f"{evaluation.package} {versions.get(evaluation.package, '')}, {evaluation.script}:")
        for unmodelled in evaluation.unmodelled[:SHOWN]:
            lines = unmodelled.text.split("\n")
            details.append(f"  {unmodelled.first:>4}: {lines[0].strip()}" + (" ..." if len(lines) > 1 else ""))
            details.append(f"        {unmodelled.reason}")
        if len(evaluation.unmodelled) > SHOWN:
            details.append(f"        and {len(evaluation.unmodelled) - SHOWN} more lines")
    names = list(dict.fromkeys(evaluation.package for evaluation in open_ones))
    first = names[0]
    raise InputError(
        f"the scripts of {_join_names(names)} do things that build-os does not model",
        details=details,
        hint="decide in the definition, for each package one of\n"
        f"      scripts: {{{first}: {{ignore: why it does not matter in this image}}}}\n"
        f"      scripts: {{{first}: {{effects: [{{directory: /var/lib/{first}, mode: 0750}}]}}}}\n"
        f"      scripts: {{{first}: sandbox}}    runs the script in a copy of the tree\n"
        f"      scripts: {{{DEFAULT}: sandbox}}    does so with all of them\n"
        f"    'build-os scripts {first}' shows all that it does",
    )


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more packages" if len(names) > 4 else "")


def find_unused_decisions(
    evaluations: Sequence[Evaluation], decisions: Mapping[str, Decision], packages: Iterable[str]
) -> list[str]:
    """Warnings about decisions that decide nothing."""
    needed = {evaluation.package for evaluation in evaluations if evaluation.unmodelled}
    there = set(packages)
    return [
        f"scripts: {name}: "
        + (
            "the package's scripts do nothing that build-os does not model; the decision can go"
            if name in there
            else "no such package in it"
        )
        for name in sorted(decisions)
        if name not in needed and name != DEFAULT
    ]
