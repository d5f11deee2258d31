"""What ``build-os init --template python-app`` reads of a project in Python: what it needs, and what starts it.

Nothing is imported or run: ``pyproject.toml`` and ``requirements.txt`` are read, and modules are parsed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.core.errors import InputError
from builder.definition.app_models import NAME_LENGTH
from builder.definition.apps import list_files, read_scripts
from builder.definition.findings import shorten_path
from builder.definition.requirements import normalise, read_project, read_requirements
from firstboot.config.located import LocatedError

PORT = 8080
# What an application object is made by -> the protocol it speaks, and so the servers that can run it.
FRAMEWORKS = {
    **dict.fromkeys(("FastAPI", "Starlette", "Quart", "Litestar"), "asgi"),
    **dict.fromkeys(("Flask", "Bottle"), "wsgi"),
}
# Server -> its arguments, for a socket that systemd has opened and handed over.
SERVERS: dict[str, Mapping[str, list[str]]] = {
    "asgi": {"uvicorn": ["--fd=3", "{app}"], "hypercorn": ["--bind=fd://3", "{app}"]},
    "asgi factory": {"uvicorn": ["--fd=3", "--factory", "{app}"]},
    "wsgi": {"gunicorn": ["{app}"]},
    "wsgi factory": {"gunicorn": ["{app}()"]},
}
_NO_CODE = {"tests", "test", "docs", "examples", "build", "dist"}


@dataclass(frozen=True)
class PythonProject:
    """A project as a definition names it.

    Attributes:
        python: the lines of its environment, ``key: value``.
        app: the lines of its app.
        is_web: whether it answers HTTP, at :data:`PORT`.
    """

    name: str
    python: tuple[str, ...]
    app: tuple[str, ...]
    is_web: bool


def read_python_project(project: Path, definition: Path) -> PythonProject:
    """Look at a project.

    Args:
        project: its directory.
        definition: the directory that the definition will lie in; paths are relative to it.

    Raises:
        InputError: it says nowhere what it needs, or what starts it; its files cannot be read.
    """
    if not project.is_dir():
        raise InputError(f"there is no directory {shorten_path(project)}")
    where = _relate(project, definition)
    table = _read_table(project)
    listed = project / "requirements.txt"
    if not table and not listed.is_file():
        raise InputError(
            f"{shorten_path(project)} does not say what it needs",
            hint="it has neither a pyproject.toml with a [project] table nor a requirements.txt",
        )
    try:
        read = read_project(project / "pyproject.toml", ()) if table else read_requirements(listed)
    except LocatedError as error:
        raise InputError(str(error)) from None
    needed = {requirement.name for requirement in read.wanted}
    python = f"project: {_quote(where)}" if table else f"requirements: {_quote(f'{where}/requirements.txt')}"
    source = "src" if (project / "src").is_dir() else ""
    start, is_web = _find_start(project, project / source, needed)
    directory = f"{where}/{source}" if source else where
    name = _make_app_name(str(table.get("name") or project.resolve().name))
    return PythonProject(name, (python,), (f"directory: {_quote(directory)}", *start), is_web)


def _make_app_name(text: str) -> str:
    """What an app can be called, like the project."""
    name = re.sub(r"[^a-z0-9-]+", "-", normalise(text)).lstrip("0123456789-")
    return name[:NAME_LENGTH].rstrip("-") or "app"


def _read_table(project: Path) -> dict[str, Any]:
    """``[project]`` of its ``pyproject.toml``; empty if it has none."""
    path = project / "pyproject.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{shorten_path(path)} cannot be read: {error}") from None
    return table if isinstance(table, dict) else {}


def _find_start(project: Path, source: Path, needed: set[str]) -> tuple[list[str], bool]:
    """The lines that say what is run: an application by its server, a script, or a module."""
    modules = dict(_list_modules(source))
    applications = [application for name, path in modules.items() for application in _list_applications(name, path)]
    for application, protocol in applications:
        for server, arguments in SERVERS[protocol].items():
            if server in needed:
                listed = ", ".join(_quote(argument.format(app=application)) for argument in arguments)
                return [
                    f"entrypoint: {server}",
                    f"arguments: [{listed}]",
                    f"listen: {{sockets: [{PORT}]}}",
                    "# It is ready when this path is answered, and well as long as it is.",
                    "ready: http",
                    "health: /",
                ], True
    if applications:
        application, protocol = applications[0]
        servers = " or ".join(SERVERS[protocol])
        raise InputError(
            f"{application} is an application, and the project has no server that runs it",
            hint=f"add {servers} to its dependencies",
        )
    # Where modules lie in src/ the definition's directory has no pyproject.toml, so the function is named.
    scripts = read_scripts(project)
    if scripts:
        name, function = next(iter(scripts.items()))
        return [f"entrypoint: {_quote(name if source == project else function)}"], False
    for name in (*(name for name in modules if name.endswith(".__main__")), "main", "app", "__main__"):
        if name in modules:
            return [f"module: {_quote(name.removesuffix('.__main__'))}"], False
    raise InputError(
        f"{shorten_path(project)} does not say what starts it",
        hint="[project.scripts] in pyproject.toml, a package with a __main__.py, or a module main.py would",
    )


def _list_modules(source: Path) -> Iterator[tuple[str, Path]]:
    """Its modules by the names that they are imported by; no tests."""
    for path in list_files(source):
        *packages, file = path.relative_to(source).parts
        stem, dot, suffix = file.rpartition(".")
        parts = [*packages, stem]
        if suffix == "py" and dot and all(part.isidentifier() for part in parts) and _NO_CODE.isdisjoint(packages):
            yield ".".join(parts[:-1] if stem == "__init__" and packages else parts), path


def _list_applications(module: str, path: Path) -> Iterator[tuple[str, str]]:
    """Applications that a module makes at its top, as ``module:name``, or by a function ``create_app``."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        protocol = _find_protocol(getattr(statement, "value", None))
        if protocol is not None:
            yield from ((f"{module}:{target.id}", protocol) for target in targets if isinstance(target, ast.Name))
        if isinstance(statement, ast.FunctionDef) and re.fullmatch(r"(create|make)_app", statement.name):
            made = (_find_protocol(node) for node in ast.walk(statement) if isinstance(node, ast.Call))
            kind = next((kind for kind in made if kind is not None), None)
            if kind is not None:
                yield f"{module}:{statement.name}", f"{kind} factory"


def _find_protocol(value: object) -> str | None:
    """What an expression's application speaks, if it makes one of a framework that is known."""
    if not isinstance(value, ast.Call):
        return None
    function = value.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return FRAMEWORKS.get(name)


def _relate(project: Path, definition: Path) -> str:
    """The project's directory, as it is written in a definition: never absolute."""
    # pathlib has no way upwards before Python 3.12.
    return os.path.relpath(project.resolve(), definition.resolve()).replace(os.sep, "/")


def _quote(text: str) -> str:
    """A value in YAML, plain where it can be: JSON's strings are YAML's."""
    return text if re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*", text) else json.dumps(text, ensure_ascii=False)
