"""Python environments: locked wheels at their places in the image, as pip would have left them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from builder.debian.lock import Lock, LockedPackage, LockedWheel
from builder.definition.environments import ResolvedEnvironment
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.python.environment import Environment

# What knows wheels is imported where there is an environment: every plan imports this module.

# By these a machine knows whether it has an environment already that an app of another version needs.
DIGESTS = "/usr/lib/build-os/environments"


@dataclass(frozen=True)
class PythonEnvironments:
    """Unpack the wheels of every environment, compile their modules, and see that their libraries are there."""

    name: ClassVar[str] = "python"
    checkpoint: ClassVar[bool] = True

    environments: tuple[Environment, ...]
    arch: str

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with the environments."""
        from builder.python.environment import hash_contents  # noqa: PLC0415

        install_environments(tree, self.environments, self.arch, context)
        for environment in self.environments:
            path = f"{DIGESTS}/{environment.name}"
            tree.put(path, make_file(f"{hash_contents(environment)}\n", origin="stage:python"))
        return tree


def install_environments(tree: Tree, environments: Sequence[Environment], arch: str, context: Context) -> None:
    """Add environments to an image's tree.

    Raises:
        BuildError: see :func:`builder.python.environment.install_environment`.
    """
    if not environments:
        return
    from builder.python.environment import install_environment  # noqa: PLC0415

    for environment in environments:
        install_environment(
            *(tree, environment, arch, context.tools, context.store, context.console, context.scratch),
            find_owners=context.find_owners,
        )


def list_planned(
    environments: Sequence[ResolvedEnvironment],
    group: str,
    packages: Sequence[LockedPackage],
    wheels: Sequence[LockedWheel],
    arch: str,
) -> tuple[Environment, ...]:
    """What a build makes of a definition's environments and of the lock's wheels for them.

    Raises:
        InputError: the packages bring no Python.
    """
    if not environments:
        return ()
    from builder.python.environment import Environment  # noqa: PLC0415
    from builder.python.target import find_target  # noqa: PLC0415

    return tuple(
        Environment(
            environment.name,
            find_target(packages, arch, environment.name),
            tuple(w for w in wheels if (w.group, w.environment) == (group, environment.name)),
            environment.requested,
            environment.trim,
            environment.imports,
            environment.absent_libraries,
        )
        for environment in environments
    )


def list_container_environments(definition: Resolved, lock: Lock) -> dict[str, tuple[Environment, ...]]:
    """The environments of a system's containers, by the lock's group."""
    environments = {}
    for container in definition.containers:
        if isinstance(container.image, ResolvedContainer) and container.image.python:
            group = container.image.package_set.name
            environments[group] = list_planned(
                container.image.python, group, lock.sets[group], lock.wheels, definition.arch
            )
    return environments
