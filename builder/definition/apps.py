"""Apps with every name looked up: features first, each app's files, and the units that it waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from builder.definition.app_models import App
from builder.definition.findings import Findings, shorten_path
from builder.definition.lookup import Layer
from builder.definition.model import ContainerUse
from builder.definition.ports import Publish, parse_publish
from builder.definition.resolved_app import ResolvedApp
from builder.definition.scalars import NotAccepted
from firstboot.config.located import Problem, find_suggestion


def find_apps(
    layers: Sequence[Layer], containers: Sequence[ContainerUse], environments: Collection[str], findings: Findings
) -> tuple[ResolvedApp, ...]:
    """The apps of features and definition; of two with one name in different files the later one counts.

    Args:
        environments: the names of the definition's Python environments.
    """
    if not any(layer.contents.apps for layer in layers):
        return ()
    from builder.definition.app_checks import check_app, check_apps  # noqa: PLC0415 - most definitions have no apps

    ports = {container.name: tuple(_list_ports(container)) for container in containers}
    apps: dict[str, tuple[Layer, int, App]] = {}
    for layer in layers:
        for index, app in enumerate(layer.contents.apps):
            findings.add(layer.located, check_app(app, ("apps", index)))
            if app.python is not None and app.python not in environments:
                message = f"there is no Python environment '{app.python}'"
                hint = find_suggestion(app.python, environments) or "name it under 'python'"
                findings.add(layer.located, [Problem(("apps", index, "python"), message, hint)])
            earlier = apps.get(app.name)
            if earlier is not None and earlier[0] is layer:
                findings.add(layer.located, [Problem(("apps", index, "name"), f"there is an app '{app.name}' already")])
            apps[app.name] = (layer, index, app)
    names = {app.name: app for _, _, app in apps.values()}
    for layer in layers:
        # Each file sees the apps of the others by their names alone, so that a problem is shown once, at its line.
        own = [(("apps", index), app) for where, index, app in apps.values() if where is layer]
        others = [((), app) for where, _, app in apps.values() if where is not layer]
        problems = check_apps([*others, *own], ports)
        findings.add(layer.located, (problem for problem in problems if problem.path[:1] == ("apps",)))
    return tuple(_resolve(app, layer, index, names, ports, findings) for layer, index, app in apps.values())


def _list_ports(container: ContainerUse) -> Iterator[Publish]:
    for text in container.publish:
        with contextlib.suppress(NotAccepted):  # complained about with the container
            yield parse_publish(text)


def _resolve(
    app: App,
    layer: Layer,
    index: int,
    apps: Mapping[str, App],
    containers: Collection[str],
    findings: Findings,
) -> ResolvedApp:
    files: dict[str, Path] = {}
    entrypoint = app.entrypoint
    if app.directory is not None:
        own = (layer.path or Path(layer.located.name)).absolute().parent
        directory = own / app.directory
        if directory.is_dir():
            files = {str(path.relative_to(directory)): path for path in list_files(directory, own)}
            scripts = read_scripts(directory)
            entrypoint = scripts.get(app.entrypoint or "", app.entrypoint)
            findings.add(layer.located, _check_started(app, entrypoint, directory, files, ("apps", index)))
        else:
            message = f"there is no directory {shorten_path(directory)}"
            findings.add(layer.located, [Problem(("apps", index, "directory"), message)])

    def name_units(name: str) -> tuple[str, ...]:
        if name in apps:
            return (f"{name}.target" if apps[name].instances > 1 else f"{name}.service",)
        return (f"{name}.service",) if name in containers else (name,)

    needs = tuple(unit for name in app.needs for unit in name_units(name))
    after = tuple(dict.fromkeys((*needs, *(unit for name in app.after for unit in name_units(name)))))
    return ResolvedApp(app.name, app, files, entrypoint, after, needs)


def list_files(directory: Path, definition: Path | None = None) -> Iterator[Path]:
    """The files of a project: none that is hidden or a link, no bytecode, virtual environment or build of ours.

    Args:
        definition: the directory of the definition, which is left out where it is in the project's.
    """
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".") or entry.name == "__pycache__" or entry.is_symlink():
            continue
        if entry.is_dir():
            if definition is not None and entry.samefile(definition):
                continue
            if not any((entry / name).exists() for name in ("pyvenv.cfg", "build.json")):
                yield from list_files(entry, definition)
        elif entry.is_file():
            yield entry


def read_scripts(directory: Path) -> dict[str, str]:
    """``[project.scripts]`` of a ``pyproject.toml`` (PEP 621), by name; none if there is no such file."""
    import tomllib  # noqa: PLC0415 - most definitions have no apps

    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return {}
    scripts = project.get("scripts", {}) if isinstance(project, dict) else {}
    return {name: value for name, value in scripts.items() if isinstance(value, str)}


def _check_started(
    app: App, entrypoint: str | None, directory: Path, files: Mapping[str, Path], here: tuple[str | int, ...]
) -> Iterator[Problem]:
    """A module that would be the directory's own must be in it; others are looked for when the image is built."""
    key = "module" if app.module is not None else "entrypoint"
    module = app.module or (entrypoint or "").partition(":")[0]
    top, *rest = module.split(".")
    if (
        not (app.module or ":" in (entrypoint or ""))
        or not rest
        or not any(name.startswith(f"{top}/") for name in files)
    ):
        return
    path = module.replace(".", "/")
    if f"{path}.py" not in files and not any(name.startswith(f"{path}/") for name in files):
        known = sorted(name.removesuffix(".py").replace("/", ".") for name in files if name.endswith(".py"))
        message = f"{shorten_path(directory)} has no module '{module}'"
        yield Problem((*here, key), message, find_suggestion(module, known))
