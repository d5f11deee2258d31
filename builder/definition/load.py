"""From a path to a value that can be built: read, look up, merge, check, and show every problem at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from builder.core.architecture import Arch, find_host_arch, require_architecture
from builder.core.errors import InputError
from builder.definition import checks
from builder.definition.apps import find_apps
from builder.definition.artifacts import find_artifacts, merge_artifacts
from builder.definition.containers import find_containers, resolve_container
from builder.definition.environments import find_environments
from builder.definition.findings import Findings, read_yaml, shorten_path
from builder.definition.lookup import Layer, check_files, find_directories, find_features
from builder.definition.model import DEFAULT_SUITE, ContainerDefinition, Definition, Runtime
from builder.definition.module_checks import check_modules, list_used_modules
from builder.definition.resolved import (
    Resolved,
    ResolvedContainer,
    find_optional_units,
    list_layers,
    merge_kernel,
    merge_packages,
    merge_presets,
    parse_package_name,
)
from builder.definition.shipped import DirectoryKind, make_search_path
from builder.definition.state import check_state, list_implied_features
from builder.definition.template import Values
from builder.definition.update_models import UPDATES, Updates, check_updates
from builder.definition.variation import Variation
from builder.products.catalogue import SYSTEM_PRODUCTS
from firstboot.config.located import Located, LocatedError, Problem, decode, find_suggestion, load_yaml

if TYPE_CHECKING:
    from firstboot.config.models import Config

Kind = Literal["system", "container", "extension"]
_KINDS: tuple[Kind, ...] = ("system", "container", "extension")
_ARTICLES: Mapping[Kind, str] = {"system": "a", "container": "a", "extension": "an"}
# Where a definition of a kind is named, or what it names.
_PLACES: Mapping[Kind, str] = {
    "container": "a container is built by itself, or named under a system's 'containers'",
    "extension": "an extension is built by itself, and says under 'of' which system it extends",
}
# What a runtime needs, where that has another name: a package, and the feature that brings it.
_RUNTIME_PACKAGES = {
    Runtime.CRI: "containerd",
    Runtime.DOCKER: "docker.io",
    Runtime.SYSTEMD: "containernetworking-plugins",
}
_RUNTIME_FEATURES = {Runtime.SYSTEMD: "pods"}


@dataclass(frozen=True)
class Loaded:
    """A system that can be built.

    Attributes:
        definition: what the user wrote.
        located: where each value of it stands in the file.
        resolved: the same with every name looked up and every feature merged in.
        warnings: each drawn like an error; ``build-os check --strict`` refuses them.
    """

    definition: Definition
    located: Located
    resolved: Resolved
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedContainer:
    """A container that can be built; the attributes are those of :class:`Loaded`."""

    definition: ContainerDefinition
    located: Located
    resolved: ResolvedContainer
    warnings: tuple[str, ...] = ()


def read_kind(path: Path) -> Kind:
    """What a definition describes.

    Raises:
        InputError: it cannot be read, or is of no known kind.
    """
    return _kind(_open(path))


def _kind(located: Located) -> Kind:
    written = located.data.get("kind", "system") if isinstance(located.data, dict) else "system"
    for kind in _KINDS:
        if written == kind:
            return kind
    problem = Problem(
        ("kind",), "a definition's kind is system, container or extension", find_suggestion(str(written), _KINDS)
    )
    raise InputError(str(LocatedError(located, [problem])))


def load(
    path: Path, *, arch: Arch | None = None, shipped: Path | None = None, variation: Variation | None = None
) -> Loaded:
    """Read a system's definition and all it names.

    Args:
        path: the YAML file.
        arch: the architecture if the definition names none; default: this machine's.
        shipped: where shipped features, overlays and units are; default: where they were installed.
        variation: what is to be otherwise than the file says.

    Raises:
        InputError: its text shows all problems at once, each under the user's own line.
    """
    located = require_kind(path, "system")
    if variation is not None:
        located = located._replace(data=variation.apply_to(located.data))
    return _load(located, path, arch, shipped)


def load_base(packages: Iterable[str], directory: Path) -> Loaded:
    """The system of feature ``base`` and these packages, as if a definition in this directory named them.

    Raises:
        InputError: one of them cannot be a package's name.
    """
    data = {"name": "base", "version": "0", "features": ["base"], "packages": list(dict.fromkeys(packages))}
    return _load(load_yaml(json.dumps(data), "the command line"), directory / "os.yaml", None, None)


def _load(located: Located, path: Path, arch: Arch | None, shipped: Path | None) -> Loaded:
    findings = Findings()
    definition = findings.parse(Definition, located)
    if definition is None:
        findings.raise_errors()
        raise AssertionError("a definition that was refused has a problem")
    findings.add(located, checks.check_definition(definition))
    search = make_search_path(path, shipped)
    findings.add(located, check_state(definition.state, definition.features))
    implied = list_implied_features(definition.state)
    features = find_features((*definition.features, *implied), located, search, findings)
    layers = [*features.values(), Layer(located, definition)]
    findings.add(
        located, checks.check_excluded_arguments(definition.kernel, [feature.contents for feature in features.values()])
    )
    overlays = find_directories(DirectoryKind.OVERLAY, layers, search, findings)
    units = find_directories(DirectoryKind.UNITS, layers, search, findings)
    target = _require_arch(definition.arch or arch or find_host_arch(), located, findings)
    values = Values(
        definition.name, definition.version, target, definition.suite, tuple(features), definition.variables
    )
    check_files(overlays, units, values, findings)
    artifacts = [
        find_artifacts(layer.contents.artifacts, layer.located, (layer.path or path).absolute(), target, findings)
        for layer in layers
    ]
    directory = path.absolute().parent
    containers = find_containers(definition, located, directory, target, shipped, findings)
    firstboot, base_config = _find_firstboot(definition.firstboot, located, directory, findings)
    findings.add(located, check_updates(definition.updates, tuple(features), directory))
    python = find_environments(
        [(layer.located, layer.path or path, layer.contents.python) for layer in layers], findings
    )
    apps = find_apps(layers, definition.containers, {environment.name for environment in python}, findings)
    findings.raise_errors()

    contents = [layer.contents for layer in layers]
    packages, exclude = merge_packages(contents)
    command_line, modules = merge_kernel(contents)
    resolved = Resolved(
        path=path.absolute(),
        name=definition.name,
        version=definition.version,
        arch=target,
        suite=definition.suite,
        mirrors=definition.mirror,
        features=tuple(features),
        packages=packages,
        exclude=exclude,
        kernel_package=definition.kernel.package or require_architecture(target).kernel_package,
        command_line=add_consoles(command_line, target),
        modules=modules,
        platforms=definition.kernel.platforms,
        overlays=overlays,
        units=units,
        presets=merge_presets(contents),
        disk=definition.disk,
        budget=definition.budget,
        root=definition.root,
        remove=tuple(dict.fromkeys(glob for part in contents for glob in part.remove)),
        keep=tuple(dict.fromkeys(glob for part in contents for glob in part.keep)),
        outputs=definition.outputs,
        layers=list_layers(contents[:-1], definition),
        optional_units=find_optional_units(contents[:-1]),
        firstboot=firstboot,
        credentials=definition.credentials,
        containers=containers,
        apps=apps,
        variables=definition.variables,
        scripts={name: decision for part in contents for name, decision in part.scripts.items()},
        debconf={name: answer for part in contents for name, answer in part.debconf.items()},
        artifacts=merge_artifacts(artifacts),
        tools_packages=tuple(definition.tools.packages),
        source_date_epoch=definition.source_date_epoch,
        python=python,
        state=definition.state,
        updates=(definition.updates or Updates()) if UPDATES in features else None,
    )
    findings.add(located, _check_whole(resolved))
    if definition.kernel.platforms or definition.remove:
        used = list_used_modules(overlays, base_config)
        findings.add(located, check_modules(used, modules, definition.kernel.platforms, definition.remove))
    findings.raise_errors()
    return Loaded(definition, located, resolved, findings.render_warnings())


def load_container(path: Path, *, arch: Arch | None = None, shipped: Path | None = None) -> LoadedContainer:
    """Read a container's definition and all it names, to build it by itself.

    Raises:
        InputError: its text shows all problems at once, each under the user's own line.
    """
    located = require_kind(path, "container")
    findings = Findings()
    definition = findings.parse(ContainerDefinition, located)
    resolved = None
    if definition is not None:
        target = _require_arch(definition.arch or arch or find_host_arch(), located, findings)
        suite = definition.suite or DEFAULT_SUITE
        resolved = resolve_container(definition, located, path, target, suite, shipped, findings)
    findings.raise_errors()
    assert definition is not None
    assert resolved is not None
    return LoadedContainer(definition, located, resolved, findings.render_warnings())


def add_consoles(command_line: tuple[str, ...], arch: Arch) -> tuple[str, ...]:
    """The kernel's arguments, with the architecture's consoles before them unless they name one themselves."""
    if any(argument.startswith("console=") for argument in command_line):
        return command_line
    return (*require_architecture(arch).consoles, *command_line)


def _open(path: Path) -> Located:
    if not path.exists():
        raise InputError(
            f"{shorten_path(path)} does not exist", hint="'build-os init' writes a definition to start from"
        )
    if path.is_dir():
        raise InputError(f"{shorten_path(path)} is a directory", hint="name the YAML file in it")
    try:
        return read_yaml(path)
    except LocatedError as error:
        raise InputError(str(error)) from None


def require_kind(path: Path, kind: Kind) -> Located:
    """A definition's text, if it describes what is wanted.

    Raises:
        InputError: it cannot be read, or is of another kind.
    """
    located = _open(path)
    actual = _kind(located)
    if actual != kind:
        hint = _PLACES.get(actual, f"{_ARTICLES[kind]} {kind}'s definition says 'kind: {kind}'")
        problem = Problem(
            ("kind",), f"this describes {_ARTICLES[actual]} {actual}, and {_ARTICLES[kind]} {kind} is wanted here", hint
        )
        raise InputError(str(LocatedError(located, [problem])))
    return located


def _require_arch(arch: Arch | None, located: Located, findings: Findings) -> Arch:
    """The architecture; any, after complaining, if there is none."""
    if arch is None:
        message = "this machine is of an architecture that images are not made for"
        findings.add(located, [Problem(("arch",), message, f"set arch to one of: {', '.join(Arch)}")])
    return arch or Arch.AMD64


def _find_firstboot(
    name: str | None, located: Located, directory: Path, findings: Findings
) -> tuple[Path | None, Config | None]:
    """The base first-boot config, and what it says; what is wrong inside is shown against that file."""
    if name is None:
        return None, None
    path = directory / name
    if not path.is_file():
        findings.add(located, [Problem(("firstboot",), f"there is no file {shorten_path(path)}")])
        return None, None
    from firstboot.engine.compile import load as load_config  # noqa: PLC0415 - most definitions have no base config

    config = None
    try:
        loaded = load_config(decode(path.read_bytes(), shorten_path(path)), shorten_path(path))
        for warning in loaded.warnings:
            findings.add(warning.located, [warning.problem])
        config = loaded.config
    except LocatedError as error:
        findings.add_error(error)
    return path, config


def _check_runtimes(resolved: Resolved) -> Iterator[Problem]:
    """Whether the image has what runs its containers."""
    packages = {*map(parse_package_name, resolved.packages)}
    for index, use in enumerate(resolved.containers):
        needed = _RUNTIME_PACKAGES.get(use.runtime, use.runtime.value)
        if needed not in packages or (use.runtime is Runtime.CRI and "cri" not in resolved.features):
            where: tuple[str | int, ...] = ("containers",)
            if use.runtime is not Runtime.PODMAN:
                where = (*where, index, "runtime")
            what = f"nothing in this image runs containers by {use.runtime}"
            yield Problem(where, what, f"add '{_RUNTIME_FEATURES.get(use.runtime, use.runtime)}' to features")
            if use.runtime is Runtime.PODMAN:
                return


def check_outputs(outputs: Sequence[str], disk: int) -> Iterator[Problem]:
    """Whether a disk of this size in bytes can be written in these formats."""
    for index, name in enumerate(outputs):
        problem = SYSTEM_PRODUCTS[name].find_size_problem(disk)
        if problem is not None:
            yield Problem(("outputs", index), problem, "change disk.size, or take the output out")


def _check_whole(resolved: Resolved) -> Iterator[Problem]:
    """What can be said once everything is merged."""
    yield from check_outputs(resolved.outputs, int(resolved.disk.size))
    yield from _check_runtimes(resolved)
    names: dict[str, Path] = {}
    for index, use in enumerate(resolved.containers):
        taken = [f"{use.name}.{kind}{ending}" for kind in ("service", "container") for ending in ("", ".j2")]
        for file in (directory.path / name for directory in resolved.units for name in taken):
            if file.exists():
                yield Problem(
                    ("containers", index, "name"), f"its unit {use.name}.service is also {shorten_path(file)}"
                )
        if isinstance(use.image, ResolvedContainer):
            other = names.setdefault(use.image.name, use.image.path)
            if other != use.image.path:
                message = f"{shorten_path(other)} describes another image with the name '{use.image.name}'"
                yield Problem(("containers", index, "definition"), message)
