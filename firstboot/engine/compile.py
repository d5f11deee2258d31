"""From texts to one config that is ready to be carried out: each is read, what it names is merged in, then all of them.

Machine, command line and host compose a config here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firstboot.config.checks import check as check_config
from firstboot.config.document import read
from firstboot.config.loaded import Document, LoadedConfig, merge_all
from firstboot.config.models import Config
from firstboot.config.origins import Complaint, ConfigError
from firstboot.config.rendering import Remote, render_document
from firstboot.config.supported import check_supported
from firstboot.config.text import LocatedError, Path, decode
from firstboot.config.versions import NEWEST
from firstboot.engine.errors import WRONG_CONFIG, list_complaints


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
        raise LocatedError(located, [complaint.problem for complaint in error.complaints]) from None


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
            if document.errors:
                raise LocatedError(document.located, document.problems)
            loaded.append(render_document(document))
        except WRONG_CONFIG as error:
            complaints += list_complaints(error)
    if complaints:
        return complaints
    try:
        return list(finish(merge_all(loaded)).warnings)
    except ConfigError as error:
        return [*error.complaints]


def compile_all(
    texts: Iterable[tuple[str, bytes]], remote: Remote | None = None, *, valid: list[Config] | None = None
) -> LoadedConfig:
    """One checked config of several texts and what they name, later ones winning.

    Args:
        texts: pairs of name and text; at least one.
        remote: fetches what they name; without it only what is written in them is merged.
        valid: gets each config that is right by itself, whatever becomes of the whole.

    Raises:
        LocatedError, ConfigError
    """
    return finish(merge_documents(_read_each(texts, valid), remote))


def _read_each(texts: Iterable[tuple[str, bytes]], valid: list[Config] | None) -> Iterator[Document]:
    for name, data in texts:
        document = read(decode(data, name), name)
        if valid is not None and document.config is not None:
            valid.append(document.config)
        yield document


def merge_documents(documents: Iterable[Document], remote: Remote | None = None) -> LoadedConfig:
    """Documents and the configs that they name, merged in order; :func:`finish` checks the result.

    Raises:
        ConfigError: one is wrong by itself, or names what cannot be had.
    """
    merged: LoadedConfig | None = None
    for document in documents:
        merged = merge_over(merged, render_document(document, remote, merged))
    assert merged is not None
    return merged


def merge_over(base: LoadedConfig | None, loaded: LoadedConfig) -> LoadedConfig:
    """A config over those before it, if there are any."""
    return loaded if base is None else merge_all([base, loaded])


def finish(loaded: LoadedConfig, *, verified: bool = True) -> LoadedConfig:
    """Check what merging made, and that all of it can be carried out.

    Args:
        verified: whether that is on an image of ours, whose root nobody can put another filesystem over.

    Raises:
        ConfigError
    """
    problems = [*check_config(loaded.config, NEWEST), *check_supported(loaded.config, verified=verified)]
    complaints = [loaded.make_complaint(problem) for problem in problems]
    errors = [complaint for complaint in complaints if complaint.problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return loaded._replace(warnings=tuple(_unique([*loaded.warnings, *complaints])))


def _unique(complaints: Iterable[Complaint]) -> Iterator[Complaint]:
    """Each only once: a warning of one document is found again in what it was merged into."""
    seen: set[tuple[str, Path, str]] = set()
    for complaint in complaints:
        what = (complaint.located.name, complaint.problem.path, complaint.problem.message)
        if what not in seen:
            seen.add(what)
            yield complaint
