"""From clean data to typed parts of a config: strictly, every problem at once, each at the user's own line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from firstboot.config.explain import describe_kind, explain_wrong_kind
from firstboot.config.fields import Field, list_fields
from firstboot.config.model import Model
from firstboot.config.models import Config
from firstboot.config.text import Located, Path, Problem

M = TypeVar("M", bound=Model)


def build(data: Any, origins: dict[Path, Path], located: Located) -> tuple[Config, list[Problem], list[Path]]:
    """The typed config, from clean data.

    Args:
        data: what :meth:`Walk.clean_document` returned.
        origins: :attr:`Walk.origins`.
        located: the document the data came from.

    Returns:
        The config; problems, at its paths; and the paths of parts that could not be built and stand there
        empty, so that the rest can still be checked.
    """
    builder = Builder(data, origins, located)
    return builder.build(Config, data, ()), builder.problems, builder.broken


class Builder:
    """Builds parts of a document and gathers what is wrong with them.

    Attributes:
        problems: at paths of the data.
        broken: paths of what could not be built.
    """

    def __init__(self, data: Any, origins: dict[Path, Path], located: Located) -> None:
        # The same marks under the result's paths, so that problems find them.
        marks = {out: located.marks[here] for out, here in origins.items() if here in located.marks}
        key_marks = {out: located.key_marks[here] for out, here in origins.items() if here in located.key_marks}
        self.clean = Located(located.name, located.text, data, marks, key_marks)
        self.problems: list[Problem] = []
        self.broken: list[Path] = []

    def build(self, model: type[M], data: Any, path: Path) -> M:
        """The part at ``path``, or an empty one."""
        if model.SECTIONS and isinstance(data, dict):
            return self._section(model, data, path)
        shaping = _Shaping(self.clean)
        built = shaping.make_part(model, data, path)
        if not shaping.problems:
            return built
        self.problems += shaping.problems
        self.broken.append(path)
        return model()

    def _section(self, model: type[M], data: dict[str, Any], path: Path) -> M:
        values: dict[str, Any] = {}
        for field in list_fields(model).values():
            if field.alias not in data:
                continue
            value, below = data[field.alias], (*path, field.alias)  # sections hold nothing but models
            if field.kind == "model":
                values[field.name] = self.build(field.model, value, below)
            elif isinstance(value, list):
                values[field.name] = tuple(
                    self.build(field.model, item, (*below, index)) for index, item in enumerate(value)
                )
            else:
                self.problems.append(Problem(below, f"expected a list, found {describe_kind(value)}"))
        return model(**values)


class _Shaping:
    """Makes one part, and gathers what is not as its model says.

    Attributes:
        problems: at paths of the data.
    """

    def __init__(self, located: Located) -> None:
        self.problems: list[Problem] = []
        self._located = located

    def make_part(self, model: type[M], data: Any, path: Path) -> M:
        """The part; what is wrong with it is left out."""
        if not isinstance(data, dict):
            self._expected("a mapping (key: value)", data, path)
            return model()
        values: dict[str, Any] = {}
        fields = list_fields(model)
        for field in fields.values():
            if field.alias in data and not (data[field.alias] is None and field.unset):
                values[field.name] = self._field(field, data[field.alias], (*path, field.alias))
        # The walk leaves nothing that is unknown (:mod:`.shape`).
        assert data.keys() <= {field.alias for field in fields.values()}, data.keys()
        return model(**values)

    def _field(self, field: Field, value: Any, path: Path) -> Any:
        match field.kind:
            case "model":
                return self.make_part(field.model, value, path)
            case "scalar":
                return self._scalar(field, value, path)
            case "map":
                if not isinstance(value, dict):
                    self._expected("a mapping (key: value)", value, path)
                    return {}
                return {str(key): self._scalar(field, item, (*path, key)) for key, item in value.items()}
            case "models" | "scalars":
                if not isinstance(value, list):
                    self._expected("a list", value, path)
                    return ()
                return tuple(self._elements(field, value, path))

    def _elements(self, field: Field, values: list[Any], path: Path) -> Iterator[Any]:
        for index, value in enumerate(values):
            if field.kind == "models":
                yield self.make_part(field.model, value, (*path, index))
            else:
                yield self._scalar(field, value, (*path, index))

    def _scalar(self, field: Field, value: Any, path: Path) -> Any:
        if type(value) is not field.of:
            self._expected(_WORDS[field.of], value, path)
        elif isinstance(value, int) and field.between is not None:
            least, greatest = field.between
            if value < least:
                self._complain(Problem(path, f"input should be greater than or equal to {least}"))
            elif value > greatest:
                self._complain(Problem(path, f"input should be less than or equal to {greatest}"))
        return value

    def _expected(self, what: str, value: Any, path: Path) -> None:
        self._complain(explain_wrong_kind(what, value, path))

    def _complain(self, problem: Problem) -> None:
        """At what the user wrote: what sugar made has no place of its own."""
        path = problem.path
        while path and path not in self._located.marks:
            path = path[:-1]
        self.problems.append(problem._replace(path=path))


_WORDS: dict[type | str, str] = {str: "text", int: "a whole number", bool: "true or false"}
