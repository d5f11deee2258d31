"""Where each part of a config was written: from a path in the compiled config back to a user's own line."""

from __future__ import annotations

from collections.abc import Iterable

from firstboot.config import text
from firstboot.config.named_tuple import NamedTuple
from firstboot.config.text import Located, LocatedError, Path, Problem, render


class Complaint(NamedTuple):
    """A problem together with the document it is about; its path is one the user wrote."""

    located: Located
    problem: Problem

    def __str__(self) -> str:
        return render(self.located, [self.problem])


class GeneratedFrom(NamedTuple):
    """Something made of what stands in a document at a path: what is below it is nowhere in the text."""

    located: Located


class Origins(NamedTuple):
    """A map from paths of a config to where they come from.

    An entry stands for its path and all that is below it, unless there is a longer one: a merged config maps
    a whole user to the document that defines it with one entry.

    Attributes:
        entries: path -> (a document, or the origins of the config it was merged from; path there).
            Of something made by sugar, the path of the sugar.
            There is always an entry for ``()``.
    """

    entries: dict[Path, tuple[Located | GeneratedFrom | Origins, Path]]

    def find(self, path: Path) -> tuple[Located, Path]:
        """The document and the path in it that ``path`` comes from."""
        for length in range(len(path), -1, -1):
            entry = self.entries.get(path[:length])
            if entry is None:
                continue
            source, there = entry
            if isinstance(source, GeneratedFrom):
                return source.located, there
            there = (*there, *path[length:])
            return source.find(there) if isinstance(source, Origins) else (source, there)
        raise KeyError(path)

    def make_complaint(self, problem: Problem) -> Complaint:
        """``problem``, which is at a path of the config, where the user wrote it."""
        located, path = self.find(problem.path)
        return Complaint(located, problem._replace(path=path))


class ConfigError(Exception):
    """A config, possibly made of several documents, that cannot be used. ``str()`` shows every problem."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__(", ".join(dict.fromkeys(complaint.located.name for complaint in self.complaints)))

    def __str__(self) -> str:
        return "\n".join(str(error) for error in collect_by_document(self.complaints))


def draw_each(complaints: Iterable[Complaint]) -> list[str]:
    """Each drawn by itself, in the order of :func:`collect_by_document`."""
    return [
        drawing
        for error in collect_by_document(complaints)
        for drawing in text.draw_each(error.located, error.problems)
    ]


def collect_by_document(complaints: Iterable[Complaint]) -> list[LocatedError]:
    """The complaints gathered by document, in the order in which documents first appear."""
    documents: dict[int, tuple[Located, list[Problem]]] = {}
    for complaint in complaints:
        documents.setdefault(id(complaint.located), (complaint.located, []))[1].append(complaint.problem)
    return [LocatedError(located, problems) for located, problems in documents.values()]
