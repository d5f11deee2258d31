"""From clean data to typed parts of a config. pydantic checks section by section, so only the models that a
config uses are ever built.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from firstboot.config.explain import kind_of, problems_of
from firstboot.config.fields import fields_of
from firstboot.config.models import Config, Model
from firstboot.config.text import Located, Path, Problem

M = TypeVar("M", bound=Model)


def build(data: Any, origins: dict[Path, Path], located: Located) -> tuple[Config, list[Problem], list[Path]]:
    """The typed config, from clean data.

    Args:
        data: what :meth:`Walk.config` returned.
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
        # The same marks under the result's paths, so that pydantic's locations find them.
        marks = {out: located.marks[here] for out, here in origins.items() if here in located.marks}
        key_marks = {out: located.key_marks[here] for out, here in origins.items() if here in located.key_marks}
        self.clean = Located(located.name, located.text, data, marks, key_marks)
        self.problems: list[Problem] = []
        self.broken: list[Path] = []

    def build(self, model: type[M], data: Any, path: Path) -> M:
        """The part at ``path``, or an empty one."""
        if model.SECTIONS and isinstance(data, dict):
            return self._section(model, data, path)
        try:
            return model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            self.problems += problems_of(error, self.clean, model, path)
            self.broken.append(path)
            return cast("M", model.model_construct())

    def _section(self, model: type[M], data: dict[str, Any], path: Path) -> M:
        values: dict[str, Any] = {}
        for each in fields_of(model).values():
            if each.alias not in data:
                continue
            value, below = data[each.alias], (*path, each.alias)  # sections hold nothing but models
            if each.kind == "model":
                values[each.alias] = self.build(each.model, value, below)
            elif isinstance(value, list):
                values[each.alias] = tuple(
                    self.build(each.model, item, (*below, index)) for index, item in enumerate(value)
                )
            else:
                self.problems.append(Problem(below, f"expected a list, found {kind_of(value)}"))
        return cast("M", model.model_construct(**values))
