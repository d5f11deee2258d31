"""A definition with every name looked up and every feature merged in: what the later stages consume.

The rule of the merge is that the later statement wins: features in order of dependency, each once, then the
definition.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.core.architecture import Arch
from builder.definition.artifacts import ResolvedArtifact
from builder.definition.environments import ResolvedEnvironment
from builder.definition.model import (
    Budget,
    Contents,
    Definition,
    Disk,
    Feature,
    Kernel,
    LayerCompression,
    Layers,
    Presets,
    Root,
    Runtime,
)
from builder.definition.ports import Publish
from builder.definition.resolved_app import ResolvedApp
from builder.definition.scalars import Scalar
from builder.definition.scripts import ScriptDecision
from builder.definition.shipped import NamedDirectory
from builder.definition.state import State
from builder.definition.template import Values
from builder.definition.update_models import Updates
from builder.products.catalogue import CONTAINER_DEFAULT


@dataclass(frozen=True)
class PackageSet:
    """Packages that are resolved together: one root's.

    Attributes:
        name: ``image``, ``container:NAME`` or ``tools``.
        packages: requests (``name`` or ``name=version``), sorted.
        exclude: packages that must not be in the result, whoever depends on them; sorted.
        essential: whether the archive's essential packages belong to it although nobody names them.
        layers: the names that features bring, by feature in the order of the merge, each where it is named last. Of
            packages that exclude each other in one role the one that is named later is taken.
    """

    name: str
    packages: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    essential: bool = False
    layers: tuple[tuple[str, ...], ...] = ()
    base: str = ""


@dataclass(frozen=True)
class ResolvedContainer:
    """A container image to assemble: its root up to ``variables``, then its OCI config."""

    path: Path
    name: str
    version: str
    arch: Arch
    suite: str
    packages: tuple[str, ...]
    exclude: tuple[str, ...]
    essential: bool
    overlays: tuple[NamedDirectory, ...]
    variables: Mapping[str, Scalar]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    user: str | None
    ports: tuple[str, ...]
    labels: Mapping[str, str]
    working_dir: str
    outputs: tuple[str, ...] = (CONTAINER_DEFAULT,)
    base: ResolvedContainer | OciLayout | RegistryImage | None = None
    layers: Layers = Layers.GROUPED
    compression: LayerCompression = LayerCompression.NONE
    scripts: Mapping[str, ScriptDecision] = field(default_factory=dict)
    debconf: Mapping[str, Scalar] = field(default_factory=dict)
    python: tuple[ResolvedEnvironment, ...] = ()
    artifacts: tuple[ResolvedArtifact, ...] = ()

    @property
    def values(self) -> Values:
        """What its templates may use."""
        return Values(self.name, self.version, self.arch, self.suite, variables=self.variables)

    @property
    def package_set(self) -> PackageSet:
        """What is resolved for it."""
        return PackageSet(
            f"container:{self.name}",
            tuple(sorted(self.packages)),
            tuple(sorted(self.exclude)),
            self.essential,
            base=self.describe_base(),
        )

    def describe_base(self) -> str:
        """What it is made on, for who compares definitions; the lock has the digest."""
        match self.base:
            case None:
                return ""
            case ResolvedContainer():
                return self.base.package_set.name
            case RegistryImage():
                return self.base.reference
            case OciLayout():
                return f"{self.base.path.name}:{self.base.tag}"

    def list_below(self) -> Iterator[ResolvedContainer]:
        """The definition that it is made on, and what that is made on, lowest first."""
        if isinstance(self.base, ResolvedContainer):
            yield from self.base.list_below()
            yield self.base


@dataclass(frozen=True)
class OciLayout:
    """An image that the user brings along: a directory with an OCI image layout, an OCI archive or Docker's.

    Attributes:
        tag: which one of several.
    """

    path: Path
    tag: str = ""


@dataclass(frozen=True)
class RegistryImage:
    """An image that a registry has; what its name means, the lock says.

    Attributes:
        reference: in full, with tag or digest.
        keys: files with public keys, one of which must have signed it; empty where nobody must have.
    """

    reference: str
    keys: tuple[Path, ...] = ()


@dataclass(frozen=True)
class EmbeddedContainer:
    """A container image inside the system, and how its unit runs it."""

    name: str
    image: ResolvedContainer | OciLayout | RegistryImage
    publish: tuple[Publish, ...]
    command: tuple[str, ...]
    enable: bool
    runtime: Runtime = Runtime.PODMAN


@dataclass(frozen=True)
class Resolved:
    """A system, ready to be locked and built.

    Attributes:
        path: the definition's file, absolute.
        mirrors: URLs from the definition; empty means to look elsewhere.
        features: names in the order they were merged.
        packages: requests without the kernel's, in order of first mention.
        layers: the names that features bring, as in :class:`PackageSet`.
        optional_units: units that a feature's presets name -> the packages of that feature. Where one of those is not
            in the image (excluded, or replaced by another), the unit may be missing as well.
        overlays: directories in the order they are laid over the root.
        firstboot: the base first-boot config, absolute.
        credentials: those of the platform that services may get; ``None`` leaves it to whether the build signs.
        source_date_epoch: what the definition says, if it does.
        python: Python environments, by name.
        state: what protects the partition that a machine writes to.
        updates: what machines do about new versions; ``None`` without the feature ``updates``.
        budget: how large what is built may become.
        platforms: those whose devices the image has drivers for; empty means all.
    """

    path: Path
    name: str
    version: str
    arch: Arch
    suite: str
    mirrors: tuple[str, ...]
    features: tuple[str, ...]
    packages: tuple[str, ...]
    exclude: tuple[str, ...]
    kernel_package: str
    command_line: tuple[str, ...]
    modules: tuple[str, ...]
    overlays: tuple[NamedDirectory, ...]
    units: tuple[NamedDirectory, ...]
    presets: Presets
    disk: Disk
    root: Root
    remove: tuple[str, ...]
    keep: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...] = ()
    optional_units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    firstboot: Path | None = None
    credentials: tuple[str, ...] | None = None
    containers: tuple[EmbeddedContainer, ...] = ()
    apps: tuple[ResolvedApp, ...] = ()
    variables: Mapping[str, Scalar] = field(default_factory=dict)
    scripts: Mapping[str, ScriptDecision] = field(default_factory=dict)
    debconf: Mapping[str, Scalar] = field(default_factory=dict)
    artifacts: tuple[ResolvedArtifact, ...] = ()
    tools_packages: tuple[str, ...] = ()
    source_date_epoch: int | None = None
    python: tuple[ResolvedEnvironment, ...] = ()
    state: State = field(default_factory=State)
    updates: Updates | None = None
    budget: Budget = field(default_factory=Budget)
    platforms: tuple[str, ...] = ()

    @property
    def values(self) -> Values:
        """What its templates may use."""
        return Values(self.name, self.version, self.arch, self.suite, self.features, self.variables)

    @property
    def preset_lines(self) -> tuple[str, ...]:
        """The lines of a preset file (systemd.preset(5)). Masked units are not in it: they are links."""
        return (
            *(f"enable {unit}" for unit in self.presets.enable),
            *(f"disable {unit}" for unit in self.presets.disable),
        )


def list_containers(resolved: Resolved | ResolvedContainer) -> list[ResolvedContainer]:
    """All definitions of containers that it is made of, those below before those on them; itself, if it is one."""
    outer = [resolved] if isinstance(resolved, ResolvedContainer) else [use.image for use in resolved.containers]
    own = [container for container in outer if isinstance(container, ResolvedContainer)]
    containers = {container.package_set.name: container for image in own for container in (*image.list_below(), image)}
    return list(containers.values())


def list_package_sets(resolved: Resolved | ResolvedContainer) -> tuple[PackageSet, ...]:
    """All that a lock has to resolve, in the order image, containers, tools."""
    if isinstance(resolved, ResolvedContainer):
        return (*(part.package_set for part in (*resolved.list_below(), resolved)), PackageSet("tools", ()))
    image = {*resolved.packages, resolved.kernel_package}
    own = (container.package_set for container in list_containers(resolved))
    return (
        PackageSet("image", tuple(sorted(image)), tuple(sorted(resolved.exclude)), layers=resolved.layers),
        *dict.fromkeys(own),
        PackageSet("tools", tuple(sorted(resolved.tools_packages))),
    )


def hash_package_sets(resolved: Resolved | ResolvedContainer) -> str:
    """A hash over exactly what a lock depends on: suite, architecture and package sets.

    Overlays, units, variables and the mirror are no part of it, so changing them keeps the lock valid.
    """
    sets = [
        [part.name, part.packages, part.exclude, part.essential, part.layers, *filter(None, [part.base])]
        for part in list_package_sets(resolved)
    ]
    recipe = {"schema": 1, "arch": resolved.arch, "suite": resolved.suite, "sets": sets}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def parse_package_name(request: str) -> str:
    """``bash`` of ``bash`` or ``bash=5.2``."""
    return request.partition("=")[0]


def merge_packages(parts: Iterable[Contents]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(packages, exclude) of all parts. A version stays until a later part names another one."""
    packages: dict[str, str] = {}
    exclude: dict[str, None] = {}
    for part in parts:
        for name in part.exclude:
            packages.pop(name, None)
            exclude[name] = None
        for request in part.packages:
            name = parse_package_name(request)
            exclude.pop(name, None)
            if name not in packages or request != name:
                packages[name] = request
    return tuple(packages.values()), tuple(exclude)


def list_layers(features: Iterable[Contents], definition: Contents) -> tuple[tuple[str, ...], ...]:
    """The names that features bring and the definition does not name itself, each with the last that names it."""
    own = set(map(parse_package_name, definition.packages))
    layers = [{parse_package_name(request) for request in part.packages} - own for part in features]
    return tuple(tuple(sorted(names.difference(*layers[number + 1 :]))) for number, names in enumerate(layers))


def find_optional_units(features: Iterable[Contents]) -> dict[str, tuple[str, ...]]:
    """The units that presets of features name, with the packages of those features."""
    optional_units: dict[str, tuple[str, ...]] = {}
    for part in features:
        for unit in (*part.presets.enable, *part.presets.disable):
            optional_units[unit] = (*optional_units.get(unit, ()), *map(parse_package_name, part.packages))
    return optional_units


def merge_presets(parts: Iterable[Contents]) -> Presets:
    """One verb for each unit: the last one said."""
    verbs: dict[str, str] = {}
    for part in parts:
        for verb in ("enable", "disable", "mask"):
            for unit in getattr(part.presets, verb):
                verbs.pop(unit, None)
                verbs[unit] = verb
    return Presets(
        enable=tuple(unit for unit, verb in verbs.items() if verb == "enable"),
        disable=tuple(unit for unit, verb in verbs.items() if verb == "disable"),
        mask=tuple(unit for unit, verb in verbs.items() if verb == "mask"),
    )


def merge_kernel(parts: Iterable[Contents]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(command line, modules) of all parts, each value once; without what a later part excludes."""
    kernels = [part.kernel for part in parts if isinstance(part, Definition | Feature)]
    words: dict[str, None] = {}
    for kernel in kernels:
        excluded = kernel.exclude if isinstance(kernel, Kernel) else ()
        words = {word: None for word in words if word.partition("=")[0] not in excluded}
        words.update(dict.fromkeys(kernel.command_line))
    return (
        tuple(words),
        tuple(dict.fromkeys(module for kernel in kernels for module in kernel.modules)),
    )
