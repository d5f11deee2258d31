"""What is wrong with an environment, shown at the line of the user's that asks for it."""

from __future__ import annotations

from pathlib import Path

from builder.core.errors import InputError
from builder.definition.environments import ResolvedEnvironment
from builder.definition.findings import make_line_error, read_yaml
from firstboot.config.located import LocatedError, Problem
from firstboot.config.text import Path as ConfigPath


def make_complaint(
    environment: ResolvedEnvironment, message: str, hint: str | None = None, *, about: str = ""
) -> InputError:
    """The error at the requirement of the distribution ``about``, or at the environment's own line."""
    wanted = environment.requirements.wanted
    index = next((i for i, requirement in enumerate(wanted) if requirement.name == about), None)
    try:
        if index is not None and wanted[index].line:
            name, line = wanted[index].file, wanted[index].line
            raise make_line_error(name, Path(name).read_text(encoding="utf-8-sig"), line, 1, message, hint)
        place: ConfigPath = ("python", environment.name)
        if index is not None:
            place = (*place, "requirements", index)
        raise LocatedError(read_yaml(environment.file), [Problem(place, message, hint, on_key=index is None)])
    except LocatedError as error:
        return InputError(str(error))
    except OSError:
        return InputError(f"python.{environment.name}: {message}", hint=hint)
