"""Explain what maintainer scripts do, before anything is built.

No script is run in a build: each is evaluated, and what it does is done by build-os. sed, grep and other filters that
it calls are the tools tree's, which is fetched if it is not there. This shows, for each script, what
it does in words, what is dropped and why, and the lines that build-os does not model; a definition decides about those.
What a script does depends on what else is in the image: with --definition it is the image of that definition.

  build-os scripts nginx redis-server        in an image of the feature base with these, from today's archive
  build-os scripts -d os.yaml                of the packages of a definition that need a decision
  build-os scripts -d os.yaml openssh-server

Exit status 2: there are lines that build-os does not model and about which nothing was decided.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import require_definition
from builder.core.console import Console
from builder.core.errors import InputError

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.debian.lock import LockedPackage
    from builder.debian.scripts.decisions import Decision
    from builder.debian.scripts.effects import Evaluation


@dataclass(frozen=True)
class Subject:
    """Whose scripts are explained: all packages of an image and of its tools, what its definition says of scripts."""

    name: str
    arch: str
    packages: tuple[LockedPackage, ...]
    tools: tuple[LockedPackage, ...]
    decisions: Mapping[str, Decision]
    answers: Mapping[str, str]
    excluded: tuple[str, ...]


HELP = "what maintainer scripts do, explained"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="whose scripts to explain")
    parser.add_argument("-d", "--definition", type=Path, metavar="FILE", help="of this definition's packages")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the explanation."""
    from builder.core.store import Store
    from builder.debian.scripts.decisions import find_decision
    from builder.debian.scripts.diversions import find_diversions
    from builder.debian.scripts.explain import explain
    from builder.debian.scripts.table import open_commands
    from builder.debian.unpack import unpack_all, unpack_tree
    from builder.toolstree import open_tools

    if not args.packages and args.definition is None:
        raise InputError("name packages, or a definition with --definition")
    store = Store.open()
    subject = (
        _from_archive(args.packages, store, console)
        if args.definition is None
        else _from_definition(args.definition, store, console)
    )
    there = {package.name for package in subject.packages}
    if missing := sorted(set(args.packages) - there):
        raise InputError(f"{args.definition} does not have {', '.join(missing)}")
    packs = unpack_all(subject.packages, store, console, jobs=(os.cpu_count() or 1) + 1)
    wanted = set(args.packages) or there
    with open_commands(open_tools(subject.tools, store, console), store) as commands:
        evaluations = explain(
            unpack_tree(packs, diversions=find_diversions(packs, commands)),
            packs,
            wanted,
            subject.arch,
            subject.answers,
            subject.decisions,
            subject.excluded,
            commands=commands,
        )
    versions = {package.name: package.version for package in subject.packages}
    decided = {
        evaluation.package: decision.answer
        for evaluation in evaluations
        if (decision := find_decision(subject.decisions, evaluation.package)) is not None
    }
    open_ones = [
        evaluation for evaluation in evaluations if evaluation.unmodelled and evaluation.package not in decided
    ]
    if args.json:
        rows = [
            {**asdict(evaluation), "version": versions[evaluation.package], "decision": decided.get(evaluation.package)}
            for evaluation in evaluations
        ]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    else:
        shown = evaluations if args.packages else [evaluation for evaluation in evaluations if evaluation.unmodelled]
        for evaluation in shown:
            _print(evaluation, versions[evaluation.package], decided.get(evaluation.package))
        for name in args.packages:
            if not any(evaluation.package == name for evaluation in evaluations):
                sys.stdout.write(f"{name} {versions[name]}: has no script that an installation runs\n")
        scripts = len({(evaluation.package, evaluation.script) for evaluation in evaluations})
        sys.stdout.write(f"{scripts} scripts, {scripts - len(open_ones)} modelled to the last line in {subject.name}\n")
        if run := sorted(
            {
                evaluation.package
                for evaluation in evaluations
                if evaluation.unmodelled and decided.get(evaluation.package) == "sandbox"
            }
        ):
            sys.stdout.write(
                f"what the sandboxed scripts of {', '.join(run)} make is not seen here by those after them\n"
            )
    return 2 if open_ones else 0


def _print(evaluation: Evaluation, version: str, decision: str | None) -> None:
    from builder.debian.scripts.effects import EffectKind

    lines = [f"{evaluation.package} {version}, {evaluation.script}"]
    dropped = [e for e in evaluation.effects if e.kind is EffectKind.DROPPED]
    # Effects that repeat (a file written line by line) are one to a reader.
    lines += [
        f"  {text}" for text in dict.fromkeys(str(e) for e in evaluation.effects if e.kind is not EffectKind.DROPPED)
    ]
    lines += [f"  dropped: {text}" for text in dict.fromkeys(f"{e.name} ({e.detail})" for e in dropped)]
    if not evaluation.effects and not evaluation.unmodelled:
        lines.append("  does nothing on a first installation")
    for unmodelled in evaluation.unmodelled:
        lines.append(f"  build-os does not model line {unmodelled.first}: {unmodelled.reason}")
        lines += [f"    | {line}" for line in unmodelled.text.split("\n")[:6]]
    if evaluation.unmodelled and decision:
        lines.append(f"  the definition decided: {decision}")
    sys.stdout.write("\n".join([*lines, "", ""]))


def _from_archive(names: Sequence[str], store: Store, console: Console) -> Subject:
    from builder.debian.fetch import fetch_packages
    from builder.definition.load import load_base
    from builder.locking import choose_mirrors, resolve_today

    resolved = load_base(names, Path.cwd()).resolved
    packages = resolve_today(resolved, store, console)
    tools = resolve_today(resolved, store, console, tools=True)
    fetch_packages((*packages, *tools), lambda: choose_mirrors(resolved), store, console)
    name = "an image of feature 'base' with these packages"
    return Subject(name, str(resolved.arch), packages, tools, {}, {}, resolved.exclude)


def _from_definition(path: Path, store: Store, console: Console) -> Subject:
    from builder.core.architecture import find_host_arch
    from builder.debian.fetch import fetch_packages
    from builder.debian.lock import Lock
    from builder.locking import choose_mirrors, hash_recipe, load_any, make_lock, make_lock_path, resolve_today
    from builder.stages.packages import format_answer, make_decision

    resolved = load_any(require_definition(path))
    target = make_lock_path(path)
    if target.exists():
        lock = Lock.load(target)
        lock.require_recipe(hash_recipe(resolved), str(target))
    else:
        lock = make_lock(resolved, store, console)
    tools = lock.tools
    if {package.architecture for package in tools} - {
        "all",
        find_host_arch(),
    }:  # of who made the lock, on another machine
        tools = resolve_today(resolved, store, console, tools=True)
    fetch_packages((*lock.packages, *tools), lambda: choose_mirrors(resolved), store, console)
    decisions = {name: make_decision(decision) for name, decision in resolved.scripts.items()}
    answers = {name: format_answer(answer) for name, answer in resolved.debconf.items()}
    return Subject(
        f"the image of {path}", str(resolved.arch), lock.packages, tools, decisions, answers, resolved.exclude
    )
