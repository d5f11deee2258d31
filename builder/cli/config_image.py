"""``config check --image`` and ``config plan``: a config and the image it will meet, without a machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli.values import read_values
from builder.core.console import Console
from builder.core.errors import InputError

if TYPE_CHECKING:
    from builder.provisioning.comparison import Comparison


def add_image(parser: argparse._ActionsContainer, *, text: str) -> None:
    """``--image``."""
    parser.add_argument("--image", type=Path, metavar="BUILD.JSON", help=text)


def check(args: argparse.Namespace, console: Console) -> int:
    """``config check --image``: by the rules of its own language, then against the image."""
    from builder.provisioning.comparison import compare_with_image
    from builder.provisioning.image_facts import read_facts
    from builder.provisioning.reading import choose_verdict
    from firstboot.config.text import render

    facts = read_facts(args.image)
    failing = ("error", "warn") if args.strict else ("error",)
    status = 0
    values = read_values(args)
    for path in args.files:
        comparison = compare_with_image(path, args.files_dir, facts, values)
        verdict = choose_verdict([complaint.problem for complaint in comparison.complaints])
        if args.json:
            sys.stdout.write(json.dumps(convert_to_data(str(path), comparison)) + "\n")
        else:
            sys.stdout.write(f"{path}: {verdict} on {facts.name} {facts.version}\n")
            for located, problems in _by_document(comparison):
                sys.stderr.write(render(located, problems) + "\n")
            for note in comparison.notes:
                console.note(note)
        if verdict in failing:
            status = InputError.exit_code
    return status


def plan(args: argparse.Namespace, console: Console) -> int:
    """``config plan --image``: what a first boot of this image would do with a config."""
    from builder.provisioning.comparison import compare_with_image
    from builder.provisioning.image_facts import read_facts
    from builder.provisioning.steps import draw, list_steps
    from firstboot.config.text import render

    facts = read_facts(args.image)
    comparison = compare_with_image(args.file, args.files_dir, facts, read_values(args))
    steps = (
        list_steps(comparison.loaded, comparison.actions)
        if comparison.loaded is not None and not comparison.has_errors
        else []
    )
    if args.json:
        data = convert_to_data(str(args.file), comparison)
        image = {"name": facts.name, "version": facts.version}
        sys.stdout.write(
            json.dumps({"image": image, **data, "steps": [step.make_json_object() for step in steps]}) + "\n"
        )
        return InputError.exit_code if comparison.has_errors else 0
    for located, problems in _by_document(comparison):
        sys.stderr.write(render(located, problems) + "\n")
    for note in comparison.notes:
        console.note(note)
    if comparison.has_errors:
        raise InputError(f"a machine of {facts.name} {facts.version} would refuse {args.file}: nothing would be done")
    sys.stdout.write(f"{args.file} on {facts.name} {facts.version}: {draw(steps)}\n")
    return 0


def convert_to_data(name: str, comparison: Comparison) -> dict[str, Any]:
    """As ``config check --json`` says it; ``file`` of an entry where it is about another document."""
    from builder.provisioning.reading import choose_verdict
    from builder.provisioning.reading import make_json_object as of_document

    entries = []
    for located, problems in _by_document(comparison):
        other = {} if located.name == name else {"file": located.name}
        entries += [{**entry, **other} for entry in of_document(located.name, located, problems)["entries"]]
    verdict = choose_verdict(complaint.problem for complaint in comparison.complaints)
    return {"file": name, "verdict": verdict, "entries": entries, "notes": [*comparison.notes]}


def _by_document(comparison: Comparison) -> list[tuple[Any, list[Any]]]:
    from firstboot.config.origins import collect_by_document

    return [(complaint.located, [*complaint.problems]) for complaint in collect_by_document(comparison.complaints)]
