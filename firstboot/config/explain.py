"""Problems that point at the user's own line and speak the user's language; pydantic's errors turned into such."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from firstboot.config.text import Located, LocatedError, Path, Problem, value_at

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound="BaseModel")

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
    from pydantic import ValidationError  # noqa: PLC0415 - costs 0.1 s; only needed once there is something to check

    try:
        return model.model_validate_json(json.dumps(located.data), strict=True)
    except ValidationError as error:
        raise LocatedError(located, problems_of(error, located, model)) from None


def problems_of(error: ValidationError, located: Located, model: type[BaseModel], prefix: Path = ()) -> list[Problem]:
    """Every problem in ``error`` once, at paths the user wrote.

    Args:
        error: what validating the part of the document at ``prefix`` against ``model`` raised.
        located: the document.
        model: the model of that part.
        prefix: where the part is; ``()`` is the whole document.
    """
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False, include_input=False):
        found.setdefault(_written_path(details, located, prefix), []).append(details)
    return [problem for path, group in found.items() for problem in _explain(path, group, located, model, len(prefix))]


def suggestion(wrong: str, known: Iterable[str]) -> str | None:
    """``did you mean 'format'?``, or ``None`` if nothing is near."""
    import difflib  # noqa: PLC0415 - only errors need it

    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def kind_of(value: Any) -> str:
    """What a value is, in the user's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"'{str(value).lower()}'"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def found_instead(expected: str, value: Any, path: Path) -> Problem:
    """What is there is of another kind than was expected."""
    hint = None
    if expected == "text" and isinstance(value, int | float):
        hint = "put it in quotes"
    elif expected == "a whole number" and isinstance(value, str) and value.strip().isdigit():
        hint = "write it without quotes"
    elif expected == "true or false" and str(value).lower() in ("yes", "on", "y"):
        hint = "write true"
    elif expected == "true or false" and str(value).lower() in ("no", "off", "n"):
        hint = "write false"
    return Problem(path, f"expected {expected}, found {kind_of(value)}", hint)


def _written_path(details: ErrorDetails, located: Located, path: Path) -> Path:
    """pydantic's ``loc`` without what the user never wrote: tags of unions, names of validators."""
    last = len(details["loc"]) - 1
    for index, segment in enumerate(details["loc"]):
        longer = (*path, segment)
        if longer in located.marks or (index == last and details["type"] == "missing"):
            path = longer
    return path


def _explain(
    path: Path, group: list[ErrorDetails], located: Located, model: type[BaseModel], skip: int
) -> Iterator[Problem]:
    """One problem for the types that were expected at a path, one for each other complaint."""
    expected = list(dict.fromkeys(_EXPECTED[each["type"]] for each in group if each["type"] in _EXPECTED))
    value = value_at(located.data, path)
    if expected:
        yield found_instead(" or ".join(expected), value, path)
    for each in group:
        if each["type"] not in _EXPECTED:
            yield _explain_one(path, each, value, model, skip)


def _explain_one(path: Path, details: ErrorDetails, value: Any, model: type[BaseModel], skip: int) -> Problem:
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            known = _known_settings(model, path[skip:-1])
            return Problem(path, "unknown setting", suggestion(str(path[-1]), known), on_key=True)
        case "missing":
            return Problem(path, f"'{path[-1]}' is required" if path else "this is required", on_key=True)
        case "literal_error" | "enum":
            hint = suggestion(str(value), _quoted(context["expected"])) if isinstance(value, str) else None
            return Problem(path, f"expected {context['expected']}", hint)
        case "union_tag_invalid":
            # The complaint is about the value of the discriminator, which is a key below this path.
            where = (*path, str(context["discriminator"]).strip("'"))
            hint = suggestion(str(context["tag"]), _quoted(context["expected_tags"]))
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
        for each in models:
            for name, field in each.model_fields.items():
                if segment in (name, field.alias):
                    inner += _models_in(field.annotation)
        models = inner
    return [field.alias or name for each in models for name, field in each.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[Any]:
    """The pydantic models an annotation mentions, outermost only."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
