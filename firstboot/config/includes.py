"""``include`` of ``variant: buildos``: fragments beside a config, of any language, merged under it.

Fragments are merged in order, so later ones win, and the config that includes them wins over all. A fragment may
include others; local files of all of them are in the same directory.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from firstboot.config.butane import Surroundings
from firstboot.config.butane.draft import Draft
from firstboot.config.butane.files import NoLocalFile
from firstboot.config.loaded import Document
from firstboot.config.merge import merge
from firstboot.config.models import Config
from firstboot.config.origins import Origins
from firstboot.config.text import LocatedError, Problem, decode
from firstboot.config.versions import format_version, translate

Version = tuple[int, int]
Reader = Callable[[str, str, Surroundings], Document]
MAX_NESTING = 8


class BadFragment(ValueError):
    """A fragment that cannot be used; the text says which line of it is why."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def include_fragments(draft: Draft, read: Reader) -> None:
    """Merge the fragments that a document includes under it.

    Args:
        read: reads a text as the document itself was read.
    """
    names = draft.extras[("include",)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        draft.problems.append(Problem(("include",), "expected a list of file names"))
        return
    parent, parent_origins = Config(), Origins({(): draft.make_origin(("include",))})
    for index, name in enumerate(names):
        at = ("include", index)
        try:
            fragment, document = _read_fragment(name, draft.edition.spec, draft.surroundings, read)
        except BadFragment as error:
            draft.problems.append(Problem(at, str(error), error.hint))
            continue
        draft.problems += [Problem(at, warning, None, "warning") for warning in _warnings_of(document)]
        draft.secrets |= document.secrets
        parent, parent_origins = merge(parent, fragment, parent_origins, document.origins)
    draft.merge_under(parent, parent_origins)


def _read_fragment(name: str, spec: Version, surroundings: Surroundings, read: Reader) -> tuple[Config, Document]:
    """A fragment in terms of a config of ``spec``, and the document it was.

    Raises:
        BadFragment: it cannot be read, has errors, includes itself, or is of a later version.
    """
    path = posixpath.normpath(name)
    if path in surroundings.including:
        raise BadFragment(f"'{name}' includes itself: {' -> '.join((*surroundings.including, path))}")
    if len(surroundings.including) >= MAX_NESTING:
        raise BadFragment(f"fragments are nested deeper than {MAX_NESTING}")
    try:
        text = decode(surroundings.files.read(path), name)
        document = read(text, name, surroundings._replace(including=(*surroundings.including, path)))
    except NoLocalFile as error:
        raise BadFragment(str(error), error.hint) from None
    except LocatedError as error:
        raise BadFragment(_first_line(error), error.problems[0].hint) from None
    if document.config is None:
        raise BadFragment(_first_line(LocatedError(document.located, document.errors)), document.errors[0].hint)
    if document.version > spec:
        raise BadFragment(
            f"'{name}' is of Ignition {format_version(document.version)}, which is later than this config"
        )
    return translate(document.config, document.version), document


def _warnings_of(document: Document) -> list[str]:
    """What is remarkable in a fragment, with its line."""
    return [_first_line(LocatedError(document.located, [_as_error(problem)])) for problem in document.problems]


def _as_error(problem: Problem) -> Problem:
    return Problem(problem.path, problem.message, on_key=problem.on_key)


def _first_line(error: LocatedError) -> str:
    return str(error).splitlines()[0]
