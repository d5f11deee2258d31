"""Extensions: a system's definition with one more layer, of which what the system lacks becomes an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder.core.architecture import Arch
from builder.definition import checks
from builder.definition.apps import find_apps
from builder.definition.artifacts import find_artifacts, merge_artifacts
from builder.definition.environments import find_environments
from builder.definition.findings import Findings, shorten_path
from builder.definition.load import Loaded, load, require_kind
from builder.definition.lookup import Layer, check_files, find_directories, find_features
from builder.definition.model import ExtensionBudget, ExtensionDefinition, ExtensionType, Feature
from builder.definition.resolved import (
    Resolved,
    find_optional_units,
    list_layers,
    merge_packages,
    merge_presets,
    parse_package_name,
)
from builder.definition.shipped import DirectoryKind, make_search_path
from builder.definition.template import Values
from firstboot.config.located import Located, Problem

FEATURE = "extensions"


@dataclass(frozen=True)
class ResolvedExtension:
    """An extension, ready to be locked and built.

    Attributes:
        path: the definition's file, absolute.
        system: what it extends, by itself.
        whole: the system as if its definition asked for all that the extension brings; its ``path`` is the extension's.
        remove: globs of what is left out of the extension.
        keep: globs of what stays although ``remove`` matches.
        budget: how large it may become.
    """

    path: Path
    name: str
    type: ExtensionType
    description: str
    system: Resolved
    whole: Resolved
    remove: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    budget: ExtensionBudget = field(default_factory=ExtensionBudget)

    @property
    def image_name(self) -> str:
        """``NAME_VERSION``, with the system's version: the file's name but for its suffix (UAPI.3)."""
        return f"{self.name}_{self.system.version}"


@dataclass(frozen=True)
class LoadedExtension:
    """An extension that can be built; the attributes are those of :class:`builder.definition.load.Loaded`."""

    definition: ExtensionDefinition
    located: Located
    resolved: ResolvedExtension
    warnings: tuple[str, ...] = ()


def load_extension(path: Path, *, arch: Arch | None = None, shipped: Path | None = None) -> LoadedExtension:
    """Read an extension's definition, the system's that it extends, and all that they name.

    Raises:
        InputError: its text shows all problems at once, each under the user's own line.
    """
    located = require_kind(path, "extension")
    findings = Findings()
    definition = findings.parse(ExtensionDefinition, located)
    if definition is None:
        findings.raise_errors()
        raise AssertionError("a definition that was refused has a problem")
    system = path.absolute().parent / definition.of
    if not system.is_file():
        findings.add(located, [Problem(("of",), f"there is no file {shorten_path(system)}")])
    findings.raise_errors()
    loaded = load(system, arch=arch, shipped=shipped)
    resolved = _resolve(definition, located, path, loaded, shipped, findings)
    return LoadedExtension(definition, located, resolved, findings.render_warnings())


def _resolve(
    definition: ExtensionDefinition,
    located: Located,
    path: Path,
    loaded: Loaded,
    shipped: Path | None,
    findings: Findings,
) -> ResolvedExtension:
    system = loaded.resolved
    findings.add(located, checks.check_extension(definition))
    findings.add(located, _check_against(definition, system))
    search = make_search_path(path, shipped)
    features = {
        name: layer
        for name, layer in find_features(definition.features, located, search, findings).items()
        if name not in system.features
    }
    findings.add(located, _check_features(definition, features))
    layers = [*features.values(), Layer(located, definition)]
    overlays = find_directories(DirectoryKind.OVERLAY, layers, search, findings)
    units = find_directories(DirectoryKind.UNITS, layers, search, findings)
    variables = {**system.variables, **definition.variables}
    values = Values(
        system.name, system.version, system.arch, system.suite, (*system.features, *features), variables=variables
    )
    check_files(overlays, units, values, findings)
    artifacts = [
        find_artifacts(layer.contents.artifacts, layer.located, (layer.path or path).absolute(), system.arch, findings)
        for layer in layers
    ]
    python = find_environments(
        [(layer.located, layer.path or path, layer.contents.python) for layer in layers], findings
    )
    environments = {environment.name: environment for environment in (*system.python, *python)}
    apps = find_apps(layers, loaded.definition.containers, environments, findings)
    findings.raise_errors()

    contents = [layer.contents for layer in layers]
    own = Feature(description="the system's", packages=system.packages, exclude=system.exclude)
    packages, exclude = merge_packages([own, *contents])
    presets = merge_presets([Feature(description="the system's", presets=system.presets), *contents])
    whole = replace(
        system,
        path=path.absolute(),
        packages=packages,
        exclude=exclude,
        overlays=tuple(dict.fromkeys((*system.overlays, *overlays))),
        units=tuple(dict.fromkeys((*system.units, *units))),
        presets=presets,
        layers=(*system.layers, *list_layers(contents[:-1], definition)),
        optional_units={**system.optional_units, **find_optional_units(contents[:-1])},
        variables=variables,
        apps=(*(app for app in system.apps if app.name not in {a.name for a in apps}), *apps),
        scripts={**system.scripts, **{name: d for part in contents for name, d in part.scripts.items()}},
        debconf={**system.debconf, **{name: answer for part in contents for name, answer in part.debconf.items()}},
        artifacts=merge_artifacts([system.artifacts, *artifacts]),
        python=tuple(environments[name] for name in sorted(environments)),
    )
    return ResolvedExtension(
        path=path.absolute(),
        name=definition.name,
        type=definition.type,
        description=definition.description,
        system=system,
        whole=whole,
        remove=tuple(dict.fromkeys(glob for part in contents for glob in part.remove)),
        keep=tuple(dict.fromkeys(glob for part in contents for glob in part.keep)),
        budget=definition.budget,
    )


def _check_against(definition: ExtensionDefinition, system: Resolved) -> Iterator[Problem]:
    """What the system that it names must be, and have."""
    yield from checks.check_label(definition.name, system.version)
    if definition.name == system.name:
        yield Problem(("name",), f"the system that it extends is called '{system.name}' as well")
    if FEATURE not in system.features:
        message = f"machines of {shorten_path(system.path)} take no extensions"
        yield Problem(("of",), message, f"add '{FEATURE}' to its features")
    there = {parse_package_name(name) for name in system.packages}
    for index, name in enumerate(definition.exclude):
        if name in there:
            hint = "an extension adds to a system, and takes nothing away"
            yield Problem(("exclude", index), f"the system asks for the package '{name}'", hint)


def _check_features(definition: ExtensionDefinition, features: dict[str, Layer]) -> Iterator[Problem]:
    for index, name in enumerate(definition.features):
        layer = features.get(name)
        if layer is None:
            continue
        assert isinstance(layer.contents, Feature)
        if layer.contents.kernel.command_line or layer.contents.kernel.modules:
            message = f"the feature '{name}' wants something of the kernel, which no extension can change"
            yield Problem(("features", index), message, "name it in the system's definition")
