"""Container images inside the verified root: assembled or brought along, in a store that podman only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.core.console import QuietConsole
from builder.debian.database import install_database
from builder.debian.installed import merge_database
from builder.debian.lock import LockedImage, LockedPackage
from builder.debian.scripts.diversions import find_diversions
from builder.debian.unpack import unpack_all, unpack_tree
from builder.definition.model import LayerCompression, Layers, Runtime
from builder.definition.resolved import EmbeddedContainer, RegistryImage, ResolvedContainer
from builder.oci.changeset import LayerPart, make_parts, make_single_part
from builder.oci.container_store import install_image, make_storage_conf, make_user_storage_conf
from builder.oci.files import ImageFiles
from builder.oci.grouping import group_by_change
from builder.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Image, ImageConfig, assemble, assemble_layers, write_layers
from builder.oci.layout import read_image
from builder.oci.offers import offer_image
from builder.python.environment import Environment
from builder.stages.base_image import BaseImage, keep_inherited, read_base
from builder.stages.overlays import lay_over
from builder.stages.packages import configure, format_answer, list_runs, make_decision, make_work
from builder.stages.pods import install_pod
from builder.stages.python import install_environments
from builder.stages.quadlet import make_quadlet
from builder.stages.runtime_units import UNITS, make_containerd_unit, make_docker_unit
from builder.stages.seal import remove_matching
from builder.stages.stage import Context
from builder.tree.node import make_file
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
        if any(container.runtime is Runtime.PODMAN for container in self.containers):
            tree.put(STORAGE_CONF, make_file(make_storage_conf(), origin=ORIGIN))
            tree.put(SKELETON, make_file(make_user_storage_conf(), origin=ORIGIN))
        for container in self.containers:
            with context.console.open_step(f"container {container.name}"):
                image = self._image(container, context)
                if container.runtime is Runtime.SYSTEMD:
                    _install_pod(tree, container, image)
                    continue
            install_image(tree, image, name=container.name)
            _install_unit(tree, container, image)
        # Applied with all others, in the stage of units. A quadlet's unit is made on the machine, and says it itself.
        units = [each.name for each in self.containers if each.enable and each.runtime in OWN_UNITS]
        if units:
            lines = "".join(f"enable {name}.service\n" for name in units)
            tree.put(PRESET, make_file(lines, origin=ORIGIN))
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


def _install_pod(tree: Tree, container: EmbeddedContainer, image: Image) -> None:
    """The container's files and its units, for systemd itself."""
    publish = [str(port) for port in container.publish]
    texts = install_pod(tree, image, name=container.name, publish=publish, command=container.command)
    for unit, text in texts.items():
        tree.put(f"{UNITS}/{unit}", make_file(text, origin=f"container:{container.name}"))


def make_container_tree(
    container: ResolvedContainer,
    packages: tuple[LockedPackage, ...],
    context: Context,
    epoch: int,
    environments: Sequence[Environment] = (),
    artifacts: tuple[PlacedArtifact, ...] = (),
    base: Tree | None = None,
) -> Tree:
    """A container's root: its packages, configured, its overlays and its artifacts; on the root of its base."""
    tree = Tree() if base is None else base.copy()
    if packages or base is None:
        _install_packages(tree, container, packages, context)
    install_environments(tree, environments, container.arch, context)
    lay_over(tree, container.overlays, container.values)
    if artifacts:
        from builder.artifacts.place import place_artifacts  # noqa: PLC0415 - every plan imports this module

        place_artifacts(tree, artifacts, context.store, context.tools)
    complete = dict(tree.walk())
    remove_matching(tree, UNREAD, KEPT)
    if base is None:
        return Tree({path: node.copy_with(mtime=min(node.mtime, epoch)) for path, node in tree.walk()})
    # What is not read of the base is in its layers anyway.
    for path, node in base.walk():
        if path in complete and path not in tree:
            tree.put(path, node)
    return keep_inherited(tree, base, epoch)


def _install_packages(
    tree: Tree, container: ResolvedContainer, packages: tuple[LockedPackage, ...], context: Context
) -> None:
    from builder.debian.scripts.table import open_commands  # noqa: PLC0415 - every plan imports this module

    below = tree.copy()
    packs = unpack_all(packages, context.store, context.console, jobs=2, refetch=context.refetch)
    # Quiet: a container's handlers take milliseconds.
    decisions = {name: make_decision(decision) for name, decision in container.scripts.items()}
    answers = {name: format_answer(answer) for name, answer in container.debconf.items()}
    with open_commands(context.tools, context.store) as commands:
        unpack_tree(packs, tree, diversions=find_diversions(packs, commands))
        install_database(tree, packs)
        if container.base is not None:
            merge_database(tree, below)
        work = make_work(tree, packs, context, commands, decisions, answers, container.exclude)
        configure(work, context.console, steps=QuietConsole())
    context.runs.extend(list_runs(container.package_set.name, work))


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


def divide(
    tree: Tree, container: ResolvedContainer, packages: Sequence[LockedPackage], base: Tree | None = None
) -> list[LayerPart]:
    """The layers that a container's root is written as, on those of its base."""
    if base is None and container.layers is Layers.ONE:
        return [make_single_part(tree)]
    groups: Mapping[str, Sequence[str]] = {"": [path for path, _ in tree.walk()]}
    if container.layers is Layers.GROUPED:
        groups = group_by_change(tree, {package.name: package.source_name for package in packages})
    parts = make_parts(Tree() if base is None else base, tree, groups)
    return parts or ([make_single_part(tree)] if base is None else [])


def open_base(
    container: ResolvedContainer,
    packages: Mapping[str, tuple[LockedPackage, ...]],
    rows: Mapping[str, LockedImage],
    context: Context,
    epoch: int,
) -> BaseImage | None:
    """The image that a container is made on, as the lock has it.

    Args:
        packages: of the definitions below, by the names of their sets.
        rows: the lock's images, by name.

    Raises:
        InputError, SourceError, TreeError: it is no sound image, or not in the store.
    """
    base = container.base
    if base is None:
        return None
    group = container.package_set.name
    if not isinstance(base, ResolvedContainer):
        return read_base(base, rows[group], context.store, architecture=container.arch, tools=context.tools)
    below = open_base(base, packages, rows, context, epoch)
    root = None if below is None else below.image.tree
    own = packages[base.package_set.name]
    parts = divide(make_container_tree(base, own, context, epoch, base=root), base, own, root)
    layout = context.scratch / f"base-{base.name}"
    media_type = MEDIA_TYPES[base.compression]
    image = write_layers(parts, make_image_config(base, epoch), layout, media_type, context.tools, below)
    return BaseImage(image, ImageFiles(layout))


def make_image(
    container: ResolvedContainer,
    packages: tuple[LockedPackage, ...],
    context: Context,
    epoch: int,
    environments: Sequence[Environment] = (),
    artifacts: tuple[PlacedArtifact, ...] = (),
    base: Image | None = None,
) -> Image:
    """Assemble a container image, of one layer or with one on its base's; its content stays in the store."""
    root = None if base is None else base.tree
    tree = make_container_tree(container, packages, context, epoch, environments, artifacts, root)
    config = make_image_config(container, epoch)
    if root is None:
        return assemble(tree, config)
    parts = make_parts(root, tree, {"": [path for path, _ in tree.walk()]})
    return assemble_layers(parts, config, base)
