"""Containers: the definitions and OCI layouts that a system names, and a container built by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.core.architecture import Arch
from builder.definition import checks
from builder.definition.artifacts import find_artifacts, require_key
from builder.definition.bases import DIRECTORY, REGISTRY, parse_base
from builder.definition.environments import find_environments
from builder.definition.findings import Findings, read_yaml, shorten_path
from builder.definition.lookup import check_files, look_up
from builder.definition.model import ContainerDefinition, ContainerUse, Definition
from builder.definition.ports import parse_publish
from builder.definition.resolved import EmbeddedContainer, OciLayout, RegistryImage, ResolvedContainer
from builder.definition.shipped import DirectoryKind, make_search_path
from firstboot.config.located import Located, LocatedError, Problem
from firstboot.config.oci.reference import parse_name


@dataclass(frozen=True)
class _Policy:
    """``image_keys`` of a system: prefix of a name -> files with keys, relative to the system's definition."""

    rules: Mapping[str, tuple[str, ...]]
    located: Located
    directory: Path


def find_containers(
    definition: Definition,
    located: Located,
    directory: Path,
    arch: Arch,
    shipped: Path | None,
    findings: Findings,
) -> tuple[EmbeddedContainer, ...]:
    containers = []
    for index, use in enumerate(definition.containers):
        image = _find_image(use, ("containers", index), located, directory, arch, definition, shipped, findings)
        if image is not None and not findings.has_errors:
            publish = tuple(parse_publish(text) for text in use.publish)
            containers.append(EmbeddedContainer(use.name, image, publish, use.command, use.enable, use.runtime))
    return tuple(containers)


def _find_image(
    use: ContainerUse,
    here: tuple[str | int, ...],
    located: Located,
    directory: Path,
    arch: Arch,
    definition: Definition,
    shipped: Path | None,
    findings: Findings,
) -> ResolvedContainer | OciLayout | RegistryImage | None:
    suite = definition.suite
    policy = _Policy(definition.image_keys, located, directory)
    if use.image is not None:
        keys = _find_keys(use.keys, (*here, "keys"), located, directory, use.image, policy, findings)
        return RegistryImage(use.image, keys)
    if use.archive is not None:
        archive = directory / use.archive
        if not archive.is_file():
            findings.add(located, [Problem((*here, "archive"), f"there is no file {shorten_path(archive)}")])
            return None
        return OciLayout(archive)
    if use.oci_layout is not None:
        layout = directory / use.oci_layout
        if not (layout / "oci-layout").is_file() or not (layout / "index.json").is_file():
            message = f"{shorten_path(layout)} is no OCI image layout: it has no oci-layout and index.json"
            findings.add(located, [Problem((*here, "oci_layout"), message)])
            return None
        return OciLayout(layout)
    if use.definition is None:
        return None  # already complained about
    path = directory / use.definition
    if not path.is_file():
        findings.add(located, [Problem((*here, "definition"), f"there is no file {shorten_path(path)}")])
        return None
    try:
        inner = read_yaml(path)
    except LocatedError as error:
        findings.add_error(error)
        return None
    container = findings.parse(ContainerDefinition, inner)
    if container is None:
        return None
    reason = "a container inside a system is built from the system's own archive"
    if container.arch not in (None, arch):
        findings.add(inner, [Problem(("arch",), f"the system it goes into is {arch}", reason)])
    if container.suite not in (None, suite):
        findings.add(inner, [Problem(("suite",), f"the system it goes into is made from {suite}", reason)])
    return resolve_container(container, inner, path, arch, suite, shipped, findings, policy=policy)


def _find_keys(
    own: tuple[str, ...] | None,
    place: tuple[str | int, ...],
    located: Located,
    directory: Path,
    reference: str,
    policy: _Policy | None,
    findings: Findings,
) -> tuple[Path, ...]:
    """The keys of which one must have signed an image: its own, else those of the longest prefix of its name."""
    names = own or ()
    if own is None and policy is not None:
        name = parse_name(reference).name
        fitting = [prefix for prefix in policy.rules if prefix == "*" or f"{name}/".startswith(f"{prefix}/")]
        prefix = max(fitting, key=lambda pattern: (pattern != "*", len(pattern)), default=None)
        names, place = (policy.rules[prefix], ("image_keys", prefix)) if prefix is not None else ((), ())
        located, directory = policy.located, policy.directory
    origin = directory / "definition"
    keys = [require_key(name, (*place, index), located, origin, findings) for index, name in enumerate(names)]
    return tuple(key for key in keys if key is not None)


def resolve_container(
    container: ContainerDefinition,
    located: Located,
    path: Path,
    arch: Arch,
    suite: str,
    shipped: Path | None,
    findings: Findings,
    above: tuple[Path, ...] = (),
    policy: _Policy | None = None,
) -> ResolvedContainer:
    findings.add(located, checks.check_container(container))
    base = _find_base(container, located, path, arch, suite, shipped, findings, above, policy)
    directories = look_up(
        DirectoryKind.OVERLAY, container.overlays, located, make_search_path(path, shipped), findings, known={}
    )
    overlays = tuple(directories.values())
    resolved = ResolvedContainer(
        path=path.absolute(),
        name=container.name,
        version=container.version,
        arch=arch,
        suite=suite,
        packages=container.packages,
        exclude=container.exclude,
        essential=container.essential,
        overlays=overlays,
        variables=container.variables,
        scripts=container.scripts,
        debconf=container.debconf,
        artifacts=find_artifacts(container.artifacts, located, path.absolute(), arch, findings),
        entrypoint=container.entrypoint,
        command=container.command,
        environment=container.environment,
        user=container.user,
        ports=container.ports,
        labels=container.labels,
        # What the base says stays, unless the definition says something itself.
        working_dir=""
        if base is not None and "working_dir" not in container.model_fields_set
        else container.working_dir,
        base=base,
        outputs=container.outputs,
        python=find_environments([(located, path, container.python)], findings),
        layers=container.layers,
        compression=container.compression,
    )
    check_files(overlays, (), resolved.values, findings)
    return resolved


def _find_base(
    container: ContainerDefinition,
    located: Located,
    path: Path,
    arch: Arch,
    suite: str,
    shipped: Path | None,
    findings: Findings,
    above: tuple[Path, ...],
    policy: _Policy | None,
) -> ResolvedContainer | OciLayout | RegistryImage | None:
    """What ``from`` names. ``above`` are the definitions that are made on this one."""
    if container.base is None:
        return None
    kind, name, tag = parse_base(container.base)
    if kind == REGISTRY:
        keys = _find_keys(container.keys, ("keys",), located, path.absolute().parent, name, policy, findings)
        return RegistryImage(name, keys)
    place = path.absolute().parent / name

    def complain(message: str, hint: str | None = None) -> None:
        findings.add(located, [Problem(("from",), message, hint)])

    if not place.exists():
        complain(f"there is no {shorten_path(place)}")
        return None
    if kind != "definition":
        if place.is_dir() != (kind == DIRECTORY):
            complain(f"{shorten_path(place)} is {'a' if place.is_dir() else 'no'} directory, and this is {kind}:")
        return OciLayout(place, tag)
    here = (*above, path.resolve())
    if place.resolve() in here:
        complain(f"{shorten_path(place)} is made on this one itself")
        return None
    try:
        inner = read_yaml(place)
    except LocatedError as error:
        findings.add_error(error)
        return None
    definition = findings.parse(ContainerDefinition, inner)
    if definition is None:
        return None
    if definition.python or definition.artifacts:
        hint = "build it by itself, and name its archive: oci-archive:FILE"
        complain(f"{shorten_path(place)} has Python environments or artifacts, which a base cannot have", hint)
    if definition.arch not in (None, arch) or definition.suite not in (None, suite):
        complain(f"{shorten_path(place)} is for {definition.arch or arch} and {definition.suite or suite}")
    if definition.name == container.name:
        complain(f"{shorten_path(place)} has the same name, '{container.name}'", "give one of them another name")
    return resolve_container(definition, inner, place, arch, suite, shipped, findings, here, policy)
