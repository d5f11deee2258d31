"""The one place that knows Jinja2: a strict sandbox whose errors point into the template.

Imported only when there is a template to fill in, because Jinja2 costs more to import than a build that finds
nothing to do may cost.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import missing

from builder.definition.findings import make_line_error
from firstboot.config.located import find_suggestion


class _NotDefinedError(jinja2.UndefinedError):
    def __init__(self, message: str | None, name: str, owner: Any) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Undefined(jinja2.StrictUndefined):
    """Strict, and remembers which name of what was not there, because the message alone has to be parsed."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[jinja2.TemplateRuntimeError] = jinja2.UndefinedError,
    ) -> None:
        super().__init__(hint, obj, name, exc)
        if exc is jinja2.UndefinedError and name is not None:
            owner = None if obj is missing else obj

            def fail(message: str | None = None) -> _NotDefinedError:
                return _NotDefinedError(message, name, owner)

            self._undefined_exception = fail  # type: ignore[assignment]  # it is only ever called


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=_Undefined, keep_trailing_newline=True)
    # Two builds must make the same file.
    del environment.filters["random"]
    del environment.globals["lipsum"]
    return environment


def fill(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The text that the template ``text`` makes of ``values``; ``name`` is what errors call it.

    Raises:
        LocatedError: the syntax is wrong, or an undefined name, an operation on the wrong type, or one that
            the sandbox forbids.
    """
    environment = _environment()
    try:
        code = environment.compile(text, name=name, filename=name)
        return jinja2.Template.from_code(environment, code, environment.globals).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise make_line_error(name, text, error.lineno, 1, error.message or "this is no template") from None
    except _NotDefinedError as error:
        line = _line_of(error, name)
        column = text.split("\n")[line - 1].find(error.name) + 1
        scope = values if error.owner is None else error.owner
        hint = None
        if isinstance(scope, Mapping):
            known = ", ".join(map(str, scope)) or "nothing"
            hint = find_suggestion(error.name, map(str, scope)) or f"defined here: {known}"
        raise make_line_error(name, text, line, max(1, column), f"'{error.name}' is not defined", hint) from None
    except Exception as error:  # whatever an expression can raise is the template's fault
        message = str(error) or type(error).__name__
        raise make_line_error(name, text, _line_of(error, name), 1, message) from None


def _line_of(error: BaseException, name: str) -> int:
    """Jinja2 rewrites tracebacks so that a template's frames carry its own name and lines."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == name), 1)
