"""First-boot configs as files on the host: read, judged, compiled, merged."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from builder.core.errors import InputError
from builder.provisioning.values import NO_VALUES, Values
from firstboot.config import checks
from firstboot.config.butane import Surroundings
from firstboot.config.butane.encoding import encode_compactly
from firstboot.config.butane.files import LocalFiles
from firstboot.config.document import read
from firstboot.config.loaded import Document, LoadedConfig, merge_all
from firstboot.config.models import Config
from firstboot.config.origins import Complaint, collect_by_document
from firstboot.config.text import Located, LocatedError, Problem, decode
from firstboot.config.versions import NEWEST, translate

STANDARD_INPUT = Path("-")


def read_bytes(path: Path) -> bytes:
    """A config file, or standard input for ``-``.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def read_document(path: Path, files_dir: Path | None, values: Values = NO_VALUES) -> Document:
    """One config, checked by the rules of its own language and version; contents are packed as small as possible.

    Args:
        path: the config.
        files_dir: where its local files are.
        values: of its variables and secrets.

    Raises:
        InputError: there is no such file, or it is no config at all.
    """
    try:
        return read_located(path, files_dir, values)
    except LocatedError as error:
        raise InputError(str(error)) from error


def read_located(path: Path, files_dir: Path | None, values: Values = NO_VALUES) -> Document:
    """:func:`read_document`, with the error as it is.

    Raises:
        InputError: there is no such file.
        LocatedError: it is no config at all.
    """
    name = "standard input" if path == STANDARD_INPUT else str(path)
    surroundings = Surroundings(
        LocalFiles(files_dir),
        encode_compactly,
        values=values.variables,
        secrets=values.secrets,
        environment=values.environment,
    )
    return read(decode(read_bytes(path), name), name, surroundings)


def choose_verdict(problems: Iterable[Problem]) -> str:
    """``ok``, ``warn`` or ``error``: the worst of them."""
    kinds = {problem.severity for problem in problems}
    return "error" if "error" in kinds else "warn" if kinds else "ok"


def make_json_object(name: str, located: Located, problems: Iterable[Problem]) -> dict[str, Any]:
    """What was said about a config, for programs. Paths are Ignition's: ``$.storage.files.0.mode``."""
    problems = [*problems]
    secrets = located.get_secrets()
    entries: list[dict[str, Any]] = []
    for problem in problems:
        mark = located.mark_of(problem.path, on_key=problem.on_key)
        entry: dict[str, Any] = {
            "kind": problem.severity,
            "message": secrets.conceal(problem.message),
            "path": ".".join(["$", *map(str, problem.path)]),
            "line": mark.line if mark else None,
            "col": mark.column if mark else None,
        }
        if problem.hint:
            entry["hint"] = secrets.conceal(problem.hint)
        entries.append(entry)
    return {"file": name, "verdict": choose_verdict(problems), "entries": entries}


def require_usable(document: Document, *, strict: bool) -> list[str]:
    """The warnings about a document, drawn.

    Raises:
        InputError: there are errors; with ``strict`` also if there are warnings.
    """
    if document.errors or (strict and document.problems):
        raise InputError(str(LocatedError(document.located, document.problems)))
    return [str(Complaint(document.located, problem)) for problem in document.problems]


def merge_documents(documents: Sequence[Document]) -> tuple[Config, list[str]]:
    """Configs merged in order, later ones winning, in terms of the newest version; and warnings, drawn.

    What they refer to (``ignition.config``) is merged as it stands and not fetched.

    Raises:
        InputError: what they make together is wrong.
    """
    for document in documents:
        require_usable(document, strict=False)
    merged = merge_all(_loaded(document) for document in documents)
    complaints = [merged.make_complaint(problem) for problem in checks.check(merged.config, NEWEST)]
    errors = [complaint for complaint in complaints if complaint.problem.severity == "error"]
    if errors:
        raise InputError("\n".join(str(complaint) for complaint in collect_by_document(errors)))
    said = [Complaint(document.located, problem) for document in documents for problem in document.problems]
    return merged.config, list(dict.fromkeys(str(message) for message in [*said, *complaints]))


def _loaded(document: Document) -> LoadedConfig:
    assert document.config is not None
    return LoadedConfig(translate(document.config, document.version), document.origins)
