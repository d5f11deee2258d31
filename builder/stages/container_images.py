"""A container's root, and the image that it becomes: its packages, overlays and artifacts on what it is made on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.artifacts.placed_artifact import PlacedArtifact
from builder.core.console import Console, QuietConsole
from builder.debian.database import install_database
from builder.debian.installed import merge_database
from builder.debian.lock import LockedImage, LockedPackage
from builder.debian.scripts.diversions import find_diversions
from builder.debian.unpack import unpack_all, unpack_tree
from builder.definition.model import LayerCompression, Layers
from builder.definition.resolved import ResolvedContainer
from builder.oci.changeset import LayerPart, make_parts, make_single_part
from builder.oci.files import ImageFiles
from builder.oci.grouping import group_by_change
from builder.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Image, ImageConfig, assemble, assemble_layers, write_layers
from builder.python.environment import Environment
from builder.stages.base_image import BaseImage, keep_inherited, read_base
from builder.stages.overlays import lay_over
from builder.stages.packages import configure, format_answer, list_runs, make_decision, make_work
from builder.stages.python import install_environments
from builder.stages.seal import remove_matching
from builder.stages.stage import Context
from builder.tree.elf import list_unloadable
from builder.tree.tree import Tree

# What no program in a container reads; the same for every container.
UNREAD = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/doc/*",
)
PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin")
KEPT = ("/usr/share/doc/*/copyright",)
MEDIA_TYPES = {
    LayerCompression.NONE: LAYER,
    LayerCompression.GZIP: LAYER_GZIP,
    LayerCompression.ZSTD: LAYER_ZSTD,
}


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
        from builder.artifacts.place import place_artifacts  # noqa: PLC0415 - few containers have any

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
    from builder.debian.scripts.table import open_commands  # noqa: PLC0415 - every build of a container imports this module

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
        configure(work, context.console, steps=QuietConsole(), store=context.store)
    context.runs.extend(list_runs(container.package_set.name, work))


def warn_of_loaders(tree: Tree, name: str, console: Console) -> None:
    """Tell of programs that the kernel answers with "no such file or directory", because their loader is not there."""
    for loader, programs in list_unloadable(tree, PROGRAMS).items():
        others = f" and {len(programs) - 1} more" if len(programs) > 1 else ""
        console.warn(
            f"container {name}: {programs[0]}{others} cannot start: there is no {loader} in it "
            "(packages: [base-files, base-passwd, libc6] bring the loader of Debian's programs and the way to it)"
        )


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
    warn_of_loaders(tree, container.name, context.console)
    config = make_image_config(container, epoch)
    if root is None:
        return assemble(tree, config)
    parts = make_parts(root, tree, {"": [path for path, _ in tree.walk()]})
    return assemble_layers(parts, config, base)
