"""From texts to one config that is ready to be carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firstboot.config.checks import check as check_config
from firstboot.config.document import read
from firstboot.config.loaded import LoadedConfig, merge_all
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.rendering import render_document
from firstboot.config.supported import unsupported
from firstboot.config.text import LocatedError, Path
from firstboot.config.versions import NEWEST


def load(text: str, name: str) -> LoadedConfig:
    """Read, check and compile one config of any supported kind, with the configs inside it merged.

    Args:
        text: Ignition JSON, Butane YAML or ``variant: buildos``.
        name: what to call it in messages, usually its file name.

    Raises:
        LocatedError: everything that is wrong with it, including what this version does not support.
    """
    try:
        return finish(render_document(read(text, name)))
    except ConfigError as error:
        # All complaints are about this text: what is inside it is reported where it is embedded.
        located = error.complaints[0].located
        raise LocatedError(located, [each.problem for each in error.complaints]) from None


def check(texts: Iterable[tuple[str, str]]) -> list[Complaint]:
    """Every problem of configs that will be merged in this order, errors and warnings; empty if all is well.

    Args:
        texts: pairs of name and text.
    """
    complaints: list[Complaint] = []
    loaded: list[LoadedConfig] = []
    for name, text in texts:
        try:
            document = read(text, name)
        except LocatedError as error:
            complaints += [Complaint(error.located, problem) for problem in error.problems]
            continue
        if document.errors:
            complaints += [Complaint(document.located, problem) for problem in document.problems]
            continue
        try:
            loaded.append(render_document(document))
        except ConfigError as error:
            complaints += error.complaints
    if complaints:
        return complaints
    try:
        return list(finish(merge_all(loaded)).warnings)
    except ConfigError as error:
        return [*error.complaints]


def finish(loaded: LoadedConfig, *, verified: bool = True) -> LoadedConfig:
    """Check what merging made, and that all of it can be carried out.

    Args:
        verified: whether that is on an image of ours, whose root nobody can put another filesystem over.

    Raises:
        ConfigError
    """
    problems = [*check_config(loaded.config, NEWEST), *unsupported(loaded.config, verified=verified)]
    complaints = [loaded.complaint(each) for each in problems]
    errors = [each for each in complaints if each.problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return loaded._replace(warnings=tuple(_unique([*loaded.warnings, *complaints])))


def _unique(complaints: Iterable[Complaint]) -> Iterator[Complaint]:
    """Each only once: a warning of one document is found again in what it was merged into."""
    seen: set[tuple[str, Path, str]] = set()
    for each in complaints:
        what = (each.located.name, each.problem.path, each.problem.message)
        if what not in seen:
            seen.add(what)
            yield each
