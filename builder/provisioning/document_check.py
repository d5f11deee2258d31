"""What there is to say about a first-boot config by itself, without an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.provisioning.checks.containers import list_risks
from builder.provisioning.reading import read_located
from builder.provisioning.values import NO_VALUES, Values
from firstboot.config.loaded import Document
from firstboot.config.text import Located, LocatedError, Problem
from firstboot.config.versions import translate


def check_document(path: Path, files_dir: Path | None, values: Values = NO_VALUES) -> tuple[Located, Sequence[Problem]]:
    """Everything there is to say about a config file.

    Raises:
        InputError: there is no such file.
    """
    try:
        document = read_located(path, files_dir, values)
    except LocatedError as error:
        return error.located, error.problems
    return document.located, (*document.problems, *_list_risks(document))


def _list_risks(document: Document) -> Iterator[Problem]:
    """What containers are given that they should not have. Other variants are judged by their own rules alone."""
    if document.variant != "buildos" or document.config is None:
        return
    for problem in list_risks(translate(document.config, document.version)):
        located, path = document.origins.find(problem.path)
        if located is document.located:
            yield problem.point_at_line(located, path)
        else:
            yield Problem(("include",), f"{located.name}: {problem.message}", problem.hint, "warning")
