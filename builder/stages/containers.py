"""Container images inside the verified root: assembled or brought along, in a store that podman only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.debian.lock import LockedImage, LockedPackage
from builder.definition.model import Runtime
from builder.definition.resolved import EmbeddedContainer, RegistryImage, ResolvedContainer
from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree

if TYPE_CHECKING:
    from builder.oci.image import Image
    from builder.python.environment import Environment

ORIGIN = "stage:containers"
STORAGE_CONF = "/usr/share/containers/storage.conf"
# useradd(8) copies it into each new home.
SKELETON = "/etc/skel/.config/containers/storage.conf"
PRESET = "/usr/lib/systemd/system-preset/20-containers.preset"
# Of whose containers a file in the image is the unit.
OWN_UNITS = (Runtime.SYSTEMD, Runtime.DOCKER, Runtime.CONTAINERD)


@dataclass(frozen=True)
class Containers:
    """Put each container's image into the read-only store and write the unit that runs it.

    Attributes:
        packages: set name (``container:NAME``) -> what the lock has for it.
        environments: set name -> its Python environments.
    """

    name: ClassVar[str] = "containers"
    checkpoint: ClassVar[bool] = True

    containers: tuple[EmbeddedContainer, ...]
    packages: Mapping[str, tuple[LockedPackage, ...]]
    arch: str
    epoch: int
    environments: Mapping[str, tuple[Environment, ...]] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[PlacedArtifact, ...]] = field(default_factory=dict)
    images: Mapping[str, LockedImage] = field(default_factory=dict)

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with images, units and the configuration that points podman to them."""
        # Every plan imports this module, and what reads and writes images only one that puts them into a tree.
        from builder.oci.container_store import install_image, make_storage_conf, make_user_storage_conf  # noqa: PLC0415
        from builder.stages.container_units import check_unit_names, install_pod_units, install_unit  # noqa: PLC0415

        if any(container.runtime is Runtime.PODMAN for container in self.containers):
            tree.put(STORAGE_CONF, make_file(make_storage_conf(), origin=ORIGIN))
            tree.put(SKELETON, make_file(make_user_storage_conf(), origin=ORIGIN))
        for container in self.containers:
            check_unit_names(tree, container)
            with context.console.open_step(f"container {container.name}"):
                image = self._image(container, context)
                if container.runtime is Runtime.SYSTEMD:
                    install_pod_units(tree, container, image)
                    continue
            install_image(tree, image, name=container.name)
            install_unit(tree, container, image)
        # Applied with all others, in the stage of units. A quadlet's unit is made on the machine, and says it itself.
        units = [container.name for container in self.containers if container.enable and container.runtime in OWN_UNITS]
        if units:
            lines = "".join(f"enable {name}.service\n" for name in units)
            tree.put(PRESET, make_file(lines, origin=ORIGIN))
        return tree

    def _image(self, container: EmbeddedContainer, context: Context) -> Image:
        from builder.oci.layout import read_image  # noqa: PLC0415
        from builder.stages.container_images import make_image, open_base  # noqa: PLC0415

        if isinstance(container.image, RegistryImage):
            from builder.images.locked import read_locked_image  # noqa: PLC0415

            return read_locked_image(
                self.images[container.name],
                container.image,
                context.store,
                architecture=self.arch,
                name=container.name,
                tools=context.tools,
            )
        if not isinstance(container.image, ResolvedContainer):
            return read_image(
                container.image.path,
                context.store,
                architecture=self.arch,
                name=container.name,
                tools=context.tools,
            )
        group = container.image.package_set.name
        base = open_base(container.image, self.packages, self.images, context, self.epoch)
        return make_image(
            container.image,
            self.packages[group],
            context,
            self.epoch,
            self.environments.get(group, ()),
            self.artifacts.get(group, ()),
            None if base is None else base.image,
        )
