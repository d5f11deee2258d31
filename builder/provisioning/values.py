"""Values for the variables and secrets of first-boot configs, from files, the environment and the command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from builder.core.errors import InputError
from firstboot.config.explain import describe_kind, find_suggestion
from firstboot.config.text import Located, LocatedError, Problem, decode
from firstboot.config.yaml_text import load_yaml

NO_TEXTS: Mapping[str, str] = MappingProxyType({})
NO_SECRETS: Mapping[str, bytes] = MappingProxyType({})


class Values(NamedTuple):
    """What configs are given from outside.

    Attributes:
        variables: by name, as text.
        asked: the names that must be variables of a config, because the user named each of them.
        secrets: the bytes of secrets by name.
        environment: where secrets that name an environment variable look.
    """

    variables: Mapping[str, str] = NO_TEXTS
    asked: frozenset[str] = frozenset()
    secrets: Mapping[str, bytes] = NO_SECRETS
    environment: Mapping[str, str] = NO_TEXTS

    @property
    def are_given(self) -> bool:
        """Whether there are any, besides what secrets take from the environment."""
        return bool(self.variables or self.secrets)


NO_VALUES = Values()


def read_values(
    files: Sequence[Path],
    settings: Sequence[str],
    names: Sequence[str],
    prefixes: Sequence[str],
    secrets: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> Values:
    """Gather values; what is given later and more explicitly wins: environment, files, settings.

    Args:
        files: YAML files of names with values.
        settings: ``NAME=VALUE``.
        names: variables that are in the environment under their own names.
        prefixes: all that begins with one of these in the environment is a variable, without it, in lower case or
            as it is.
        secrets: ``NAME=FILE``.
        environment: of this process, if not given.

    Raises:
        InputError: a file cannot be read, a name is not in the environment, there is no ``=``.
    """
    around = os.environ if environment is None else environment
    variables: dict[str, str] = {}
    for prefix in prefixes:
        if not prefix:
            raise InputError("the prefix of environment variables is empty", hint="for single ones: --env NAME")
        variables_given = {
            name.removeprefix(prefix): value for name, value in around.items() if name.startswith(prefix)
        }
        variables |= {name.lower(): value for name, value in variables_given.items()} | variables_given
    for name in names:
        if name not in around:
            raise InputError(f"there is no environment variable '{name}'")
        variables[name] = around[name]
    for path in files:
        variables |= _read_file(path)
    given = dict(_split(setting, "--set", "VALUE") for setting in settings)
    variables |= given
    return Values(
        variables,
        frozenset({*names, *given}),
        {name: _read_secret(Path(file)) for name, file in (_split(secret, "--secret", "FILE") for secret in secrets)},
        around,
    )


def _split(text: str, option: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"'{text}' is not NAME={what}", hint=f"write {option} NAME={what}")
    return name, value


def _read_secret(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _read_file(path: Path) -> dict[str, str]:
    try:
        located = load_yaml(decode(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except LocatedError as error:
        raise InputError(str(error)) from error
    data = {} if located.data is None else located.data
    problems: list[Problem] = []
    values: dict[str, str] = {}
    if isinstance(data, dict):
        for name, value in data.items():
            if value is None or isinstance(value, dict | list):
                problems.append(
                    Problem((name,), f"expected text, a number, true or false, found {describe_kind(value)}")
                )
            else:
                values[name] = _as_text(value, located, name)
    else:
        problems.append(Problem((), f"expected names with values, found {describe_kind(data)}"))
    if problems:
        raise InputError(str(LocatedError(located, problems)))
    return values


def _as_text(value: str | float | bool, located: Located, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else located.plain.get((name,), str(value))


def require_declared(values: Values, configs: Iterable[Located]) -> None:
    """Whether each variable that the user named is one of a config.

    Raises:
        InputError
    """
    declared: set[str] = set()
    for config in configs:
        variables = config.data.get("variables") if isinstance(config.data, dict) else None
        if isinstance(variables, dict):
            declared |= {*variables}
    for name in sorted(values.asked - declared):
        hint = find_suggestion(name, declared) or "declare it there under variables:"
        raise InputError(f"no config has a variable '{name}'", hint=hint)
