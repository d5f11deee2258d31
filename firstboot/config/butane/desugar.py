"""Sugar of Butane that depends on the whole config, made after it is built: mount units, trees, quadlets, the boot
device, GRUB, clusters' machine configs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from firstboot.config.butane import models
from firstboot.config.butane.draft import Draft
from firstboot.config.butane.lint import check_mount_units
from firstboot.config.butane.mounts import is_swap, mount_unit
from firstboot.config.butane.nodes import Nodes
from firstboot.config.devices import Filesystem
from firstboot.config.explain import describe_kind
from firstboot.config.lazy import import_lazily
from firstboot.config.models import Config, Systemd, Unit
from firstboot.config.origins import GeneratedFrom, Origins
from firstboot.config.text import Located, Path, Problem

if TYPE_CHECKING:
    from firstboot.config.butane import boot_device, grub, openshift, quadlets, trees
else:
    boot_device = import_lazily("firstboot.config.butane.boot_device")
    grub = import_lazily("firstboot.config.butane.grub")
    openshift = import_lazily("firstboot.config.butane.openshift")
    quadlets = import_lazily("firstboot.config.butane.quadlets")
    trees = import_lazily("firstboot.config.butane.trees")

WITH_MOUNT_UNIT = "with_mount_unit"


def make_mount_units(draft: Draft, settings: dict[Path, Any]) -> None:
    """Units that mount filesystems of the config, and activate swap."""
    wanted: dict[Path, Filesystem] = {}
    filesystems = draft.config.storage.filesystems
    for path, value in sorted(settings.items()):
        if not isinstance(value, bool):
            draft.problems.append(Problem(path, f"expected true or false, found {describe_kind(value)}"))
        elif value:
            filesystem = filesystems[int(path[2])]
            # (storage, filesystems, N, subvolumes, N, with_mount_unit) is about a part of it.
            whole = len(path) == 4
            wanted[path[:-1]] = (
                filesystem if whole else filesystem.derive_for_subvolume(filesystem.subvolumes[int(path[4])])
            )
    problems = list(check_mount_units(wanted, draft.edition))
    draft.problems += problems
    if problems:
        return
    encrypted = draft.config.storage.luks
    units: list[Unit] = []
    entries: dict[Path, tuple[Located | GeneratedFrom | Origins, Path]] = {(): draft.make_origin(())}
    for path, filesystem in wanted.items():
        entries[("systemd", "units", len(units))] = draft.make_origin((*path, WITH_MOUNT_UNIT))
        units.append(mount_unit(filesystem, encrypted, swap=is_swap(filesystem, draft.edition.spec)))
    systemd = Systemd(units=(*units,))
    draft.merge_under(Config(systemd=systemd), Origins(entries))


def make_nodes(draft: Draft) -> None:
    """Files and links of trees and quadlets."""
    nodes = Nodes(draft.config, draft.origins, draft.walk)
    planting = trees.Planting(nodes, draft.surroundings.files, draft.surroundings.encode)
    for path, tree in draft.list_elements(models.Tree, ("storage", "trees")):
        draft.problems += trees.plant(tree, path, planting)
    for path, quadlet in draft.list_elements(models.Quadlet, ("systemd", "quadlets")):
        draft.problems += quadlets.install(quadlet, path, planting)
    draft.config, draft.origins = nodes.finish()


def make_boot_device(draft: Draft) -> None:
    """The disks that a machine is started from, mirrored or encrypted."""
    boot = draft.build(models.BootDevice, boot_device.AT)
    problems = list(boot_device.check(boot, draft.edition.spec))
    draft.problems += problems
    if not any(problem.severity == "error" for problem in problems):
        draft.merge_rendered(boot_device.render(boot))


def make_grub(draft: Draft) -> None:
    """Users of GRUB."""
    wanted = draft.build(models.Grub, ("grub",))
    problems = list(grub.check(wanted))
    draft.problems += problems
    if not problems:
        draft.merge_rendered(grub.render(wanted, draft.surroundings.encode))


def make_machine_config(draft: Draft) -> None:
    """What a cluster's machine config has besides, and what wraps it."""
    metadata = draft.build(openshift.Metadata, ("metadata",))
    settings = draft.build(openshift.OpenShift, ("openshift",))
    draft.problems += openshift.check(metadata, settings, draft.config)
    draft.config = openshift.adapt(draft.config, settings)
    draft.wrap = partial(openshift.wrap, metadata, settings)
