"""Container images inside the verified root: assembled or brought along, in a store that podman only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.core.console import QuietConsole
from builder.debian.database import install_database
from builder.debian.lock import LockedImage, LockedPackage
from builder.debian.scripts.diversions import find_diversions
from builder.debian.unpack import unpack_all, unpack_tree
from builder.definition.model import LayerCompression, Layers, Runtime
from builder.definition.resolved import EmbeddedContainer, RegistryImage, ResolvedContainer
from builder.oci.changeset import LayerPart, make_parts, make_single_part
from builder.oci.container_store import install_image, make_storage_conf, make_user_storage_conf
from builder.oci.grouping import group_by_change
from builder.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Image, ImageConfig, assemble
from builder.oci.layout import read_image
from builder.oci.offers import offer_image
from builder.python.environment import Environment
from builder.stages.overlays import lay_over
from builder.stages.packages import configure, format_answer, list_runs, make_decision, make_work
from builder.stages.python import install_environments
from builder.stages.quadlet import make_quadlet
from builder.stages.runtime_units import UNITS, make_containerd_unit, make_docker_unit
from builder.stages.seal import remove_matching
from builder.stages.stage import Context
from builder.tree.node import make_file, make_symlink
from builder.tree.tree import Tree

ORIGIN = "stage:containers"
QUADLETS = "/usr/share/containers/systemd"
STORAGE_CONF = "/usr/share/containers/storage.conf"
# useradd(8) copies it into each new home.
SKELETON = "/etc/skel/.config/containers/storage.conf"
# What no program in a container reads; the same for every container.
UNREAD = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/doc/*",
)
MEDIA_TYPES = {
    LayerCompression.NONE: LAYER,
    LayerCompression.GZIP: LAYER_GZIP,
    LayerCompression.ZSTD: LAYER_ZSTD,
}
KEPT = ("/usr/share/doc/*/copyright",)


@dataclass(frozen=True)
class Containers:
    """Put each container's image into the read-only store and write the unit that runs it.

    Attributes:
        packages: set name (``container:NAME``) -> what the lock has for it.
        environments: set name -> its Python environments.
    """

    name: ClassVar[str] = "containers"
    checkpoint: ClassVar[bool] = False

    containers: tuple[EmbeddedContainer, ...]
    packages: Mapping[str, tuple[LockedPackage, ...]]
    arch: str
    epoch: int
    environments: Mapping[str, tuple[Environment, ...]] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[PlacedArtifact, ...]] = field(default_factory=dict)
    images: Mapping[str, LockedImage] = field(default_factory=dict)

    def apply(self, tree: Tree, context: Context) -> Tree:
        """The tree with images, units and the configuration that points podman to them."""
        if not self.containers:
            return tree
        if any(container.runtime is Runtime.PODMAN for container in self.containers):
            tree.put(STORAGE_CONF, make_file(make_storage_conf(), origin=ORIGIN))
            tree.put(SKELETON, make_file(make_user_storage_conf(), origin=ORIGIN))
        for container in self.containers:
            with context.console.open_step(f"container {container.name}"):
                image = self._image(container, context)
            install_image(tree, image, name=container.name)
            _install_unit(tree, container, image)
        return tree

    def _image(self, container: EmbeddedContainer, context: Context) -> Image:
        if isinstance(container.image, RegistryImage):
            from builder.images.locked import read_locked_image  # noqa: PLC0415 - every plan imports this module

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
        environments = self.environments.get(group, ())
        return make_image(
            container.image, self.packages[group], context, self.epoch, environments, self.artifacts.get(group, ())
        )


def _install_unit(tree: Tree, container: EmbeddedContainer, image: Image) -> None:
    """What runs the container, and what tells its runtime of the image."""
    name, publish, command = container.name, [str(port) for port in container.publish], container.command
    origin = f"container:{name}"
    if container.runtime is Runtime.PODMAN:
        text = make_quadlet(name, image.pinned, publish=publish, command=command, enable=container.enable)
        tree.put(f"{QUADLETS}/{name}.container", make_file(text, origin=origin))
        return
    offer_image(tree, image, container.runtime, name=name)
    if container.runtime is Runtime.CRI:
        return
    make_unit = make_docker_unit if container.runtime is Runtime.DOCKER else make_containerd_unit
    text = make_unit(name, image, publish=publish, command=command, enable=container.enable)
    tree.put(f"{UNITS}/{name}.service", make_file(text, origin=origin))
    if container.enable:
        link = make_symlink(f"{UNITS}/{name}.service", origin=origin)
        tree.put(f"/etc/systemd/system/multi-user.target.wants/{name}.service", link)


def make_container_tree(
    container: ResolvedContainer,
    packages: tuple[LockedPackage, ...],
    context: Context,
    epoch: int,
    environments: Sequence[Environment] = (),
    artifacts: tuple[PlacedArtifact, ...] = (),
) -> Tree:
    """A container's root: its packages, configured, its overlays and its artifacts."""
    from builder.debian.scripts.table import open_commands  # noqa: PLC0415 - every plan imports this module

    packs = unpack_all(packages, context.store, context.console, jobs=2, refetch=context.refetch)
    # Quiet: a container's handlers take milliseconds.
    decisions = {name: make_decision(each) for name, each in container.scripts.items()}
    answers = {name: format_answer(each) for name, each in container.debconf.items()}
    with open_commands(context.tools, context.store) as commands:
        tree = unpack_tree(packs, diversions=find_diversions(packs, commands))
        install_database(tree, packs)
        work = make_work(tree, packs, context, commands, decisions, answers, container.exclude)
        configure(work, context.console, steps=QuietConsole())
    context.runs.extend(list_runs(container.package_set.name, work))
    install_environments(tree, environments, container.arch, context)
    lay_over(tree, container.overlays, container.values)
    if artifacts:
        from builder.artifacts.place import place_artifacts  # noqa: PLC0415 - every plan imports this module

        place_artifacts(tree, artifacts, context.store, context.tools)
    remove_matching(tree, UNREAD, KEPT)
    return Tree({path: node.copy_with(mtime=min(node.mtime, epoch)) for path, node in tree.walk()})


def make_image_config(container: ResolvedContainer, epoch: int) -> ImageConfig:
    """The OCI configuration that a container definition asks for."""
    return ImageConfig(
        architecture=container.arch,
        name=container.name,
        version=container.version,
        entrypoint=container.entrypoint,
        command=container.command,
        environment=container.environment,
        user=container.user,
        ports=container.ports,
        working_dir=container.working_dir,
        labels=container.labels,
        created=epoch,
    )


def divide(tree: Tree, container: ResolvedContainer, packages: Sequence[LockedPackage]) -> list[LayerPart]:
    """The layers that a container's root is written as."""
    if container.layers is Layers.ONE:
        return [make_single_part(tree)]
    groups = group_by_change(tree, {each.name: each.source_name for each in packages})
    return make_parts(Tree(), tree, groups) or [make_single_part(tree)]


def make_image(
    container: ResolvedContainer,
    packages: tuple[LockedPackage, ...],
    context: Context,
    epoch: int,
    environments: Sequence[Environment] = (),
    artifacts: tuple[PlacedArtifact, ...] = (),
) -> Image:
    """Assemble a container image; its content stays in the store."""
    tree = make_container_tree(container, packages, context, epoch, environments, artifacts)
    return assemble(tree, make_image_config(container, epoch))
