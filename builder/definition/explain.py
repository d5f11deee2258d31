"""pydantic's complaints about a definition, at the user's own line and in the user's language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from firstboot.config.explain import explain_wrong_kind, find_suggestion
from firstboot.config.text import Located, LocatedError, Path, Problem, find_value

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

# pydantic error type -> what would have been right. Branch on the type, never on the message.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "path_type": "a path",
    "none_required": "nothing",
}


def parse(model: type[M], located: Located) -> M:
    """Validate a document against a model, strictly, through JSON (so lists are accepted for tuples).

    Raises:
        LocatedError: with every problem at once.
    """
    try:
        return model.model_validate_json(json.dumps(located.data), strict=True)
    except ValidationError as error:
        raise LocatedError(located, list_problems(error, located, model)) from None


def list_problems(error: ValidationError, located: Located, model: type[BaseModel]) -> list[Problem]:
    """Every problem in what validating the document against ``model`` raised, once, at paths the user wrote."""
    by_place: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False, include_input=False):
        by_place.setdefault(_written_path(details, located), []).append(details)
    return [problem for path, group in by_place.items() for problem in _explain(path, group, located, model)]


def _written_path(details: ErrorDetails, located: Located) -> Path:
    """pydantic's ``loc`` without what the user never wrote: tags of unions, names of validators."""
    path: Path = ()
    last = len(details["loc"]) - 1
    for index, segment in enumerate(details["loc"]):
        longer = (*path, segment)
        if longer in located.marks or (index == last and details["type"] == "missing"):
            path = longer
    return path


def _explain(path: Path, group: list[ErrorDetails], located: Located, model: type[BaseModel]) -> Iterator[Problem]:
    """One problem for the types that were expected at a path, one for each other complaint."""
    expected = list(dict.fromkeys(_EXPECTED[details["type"]] for details in group if details["type"] in _EXPECTED))
    value = find_value(located.data, path)
    if expected:
        yield explain_wrong_kind(" or ".join(expected), value, path)
    for details in group:
        if details["type"] not in _EXPECTED:
            yield _explain_one(path, details, value, model)


def _explain_one(path: Path, details: ErrorDetails, value: Any, model: type[BaseModel]) -> Problem:
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            known = _known_settings(model, path[:-1])
            return Problem(path, "unknown setting", find_suggestion(str(path[-1]), known), on_key=True)
        case "missing":
            return Problem(path, f"'{path[-1]}' is required" if path else "this is required", on_key=True)
        case "literal_error" | "enum":
            hint = find_suggestion(str(value), _quoted(context["expected"])) if isinstance(value, str) else None
            return Problem(path, f"expected {context['expected']}", hint)
        case "union_tag_invalid":
            # The complaint is about the value of the discriminator, which is a key below this path.
            where = (*path, str(context["discriminator"]).strip("'"))
            hint = find_suggestion(str(context["tag"]), _quoted(context["expected_tags"]))
            return Problem(where, f"expected one of {context['expected_tags']}", hint)
        case "union_tag_not_found":
            return Problem(path, f"{context['discriminator']} is required")
        case "value_error" | "assertion_error":
            cause = context["error"]
            return Problem(path, str(cause), getattr(cause, "hint", None))
        case "json_invalid":
            return Problem(path, f"this cannot be represented: {context['error']}")
        case _:
            message = details["msg"]
            return Problem(path, message[:1].lower() + message[1:])


def _quoted(expected: str) -> list[str]:
    """The values in pydantic's ``'a', 'b' or 'c'``."""
    return expected.split("'")[1::2]


def _known_settings(model: Any, path: Path) -> list[str]:
    """The settings that exist at ``path``: walks the model's annotations, into every branch of unions."""
    models = list(_models_in(model))
    for segment in path:
        if isinstance(segment, int):
            continue  # lists were already looked through
        inner: list[Any] = []
        for candidate in models:
            for name, field in candidate.model_fields.items():
                if segment in (name, field.alias):
                    inner += _models_in(field.annotation)
        models = inner
    return [field.alias or name for candidate in models for name, field in candidate.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[Any]:
    """The pydantic models an annotation mentions, outermost only."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
