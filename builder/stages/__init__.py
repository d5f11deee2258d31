"""The table of contents of an image: :func:`list_stages`."""

from __future__ import annotations

from pathlib import Path

import firstboot as provisioner
import update as agent
from builder.artifacts.placed_artifact import PlacedArtifact, list_placed
from builder.core.once import answer_once
from builder.core.platform_devices import MODULES
from builder.debian.lock import Lock
from builder.definition.resolved import Resolved, ResolvedContainer
from builder.definition.shipped import find_shipped_root
from builder.stages.accounts import Accounts
from builder.stages.apps import Apps
from builder.stages.artifacts import Artifacts
from builder.stages.containers import Containers
from builder.stages.firstboot import FirstBoot
from builder.stages.identity import Identity
from builder.stages.overlays import Overlays
from builder.stages.packages import Packages, format_answer, make_decision
from builder.stages.python import PythonEnvironments, list_container_environments, list_planned
from builder.stages.seal import Seal
from builder.stages.stage import Stage
from builder.stages.units import Units


def list_stages(definition: Resolved, lock: Lock) -> list[Stage]:
    """What is done, in order, to get from nothing to the finished root."""
    values = definition.values
    presets = definition.presets
    epoch = definition.source_date_epoch or 0
    there = {package.name for package in lock.packages}
    optional = tuple(sorted(unit for unit, names in definition.optional_units.items() if not there.issuperset(names)))
    environments = list_planned(definition.python, "image", lock.packages, lock.wheels, definition.arch)
    packages = lock.packages
    manifest = answer_once(packages, "manifest", lambda: tuple((p.name, p.version, p.source) for p in packages))
    return [
        Packages(
            lock.packages,
            {name: make_decision(decision) for name, decision in definition.scripts.items()},
            {name: format_answer(answer) for name, answer in definition.debconf.items()},
            definition.exclude,
        ),
        *list_module_stages(definition),
        *list_container_stages(definition, lock, epoch),
        *([PythonEnvironments(environments, definition.arch)] if environments else []),
        FirstBoot(Path(provisioner.__file__).parent, definition.firstboot),
        Overlays(definition.overlays, values),
        Apps(definition.apps, find_shipped_root() / "overlays" / "apps"),
        Artifacts(list_placed(definition.artifacts, lock, "image")),
        Units(definition.units, presets.enable, presets.disable, presets.mask, values, optional),
        *list_update_stages(definition),
        Accounts(),
        Identity(
            definition.name, definition.version, definition.arch, definition.features, manifest, definition.credentials
        ),
        Seal(definition.remove, definition.keep, epoch),
    ]


def list_update_stages(definition: Resolved) -> list[Stage]:
    """What an image gets that updates itself."""
    settings = definition.updates
    if settings is None:
        return []
    from builder.stages.updates import Updates  # noqa: PLC0415 - brings what a machine does about updates

    root = None if settings.root is None else definition.path.parent / settings.root
    names = (*(app.name for app in definition.apps), *(container.name for container in definition.containers))
    return [Updates(Path(agent.__file__).parent, settings, definition.arch, root, names)]


def list_module_stages(definition: Resolved) -> list[Stage]:
    """What an image gets that has not all of its kernel's modules. An index must not name one that is not there."""
    remove = tuple(glob for glob in definition.remove if glob.startswith(f"{MODULES}/"))
    if not definition.platforms and not remove:
        return []
    from builder.stages.kernel_modules import KernelModules  # noqa: PLC0415 - most images have all

    keep = tuple(glob for glob in definition.keep if glob.startswith(f"{MODULES}/"))
    return [KernelModules(definition.platforms, remove, keep, definition.modules)]


def list_container_stages(definition: Resolved, lock: Lock, epoch: int) -> list[Stage]:
    """What an image with containers gets. They are assembled of packages, and nothing that an app or an overlay changes
    is in them: so they come before those, and are kept."""
    if not definition.containers:
        return []
    return [
        Containers(
            definition.containers,
            lock.sets,
            definition.arch,
            epoch,
            list_container_environments(definition, lock),
            list_container_artifacts(definition, lock),
            {row.name: row for row in lock.images},
        )
    ]


def list_container_artifacts(definition: Resolved, lock: Lock) -> dict[str, tuple[PlacedArtifact, ...]]:
    """The artifacts of the containers that are built with a system, by the lock's groups."""
    images = (image.image for image in definition.containers)
    groups = {image.package_set.name: image.artifacts for image in images if isinstance(image, ResolvedContainer)}
    return {group: list_placed(artifacts, lock, group) for group, artifacts in groups.items()}


__all__ = ["Stage", "list_stages"]
