"""Places that will not be seen, are in memory only, or are nowhere: mounts over them, devices that no layout has."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.image_facts import is_writable
from firstboot.config.butane.mounts import escape
from firstboot.config.models import Config
from firstboot.config.mount_points import format_mount_point, list_mounted_filesystems
from firstboot.config.text import Path, Problem

MEMORY = "/run"
# What the kernel itself shows; a config that writes there is refused as such.
KERNEL = ("/proc", "/sys", "/dev")
ALWAYS = "/"
_LISTS = ("directories", "files", "links")


class Mount(NamedTuple):
    """A filesystem that is put over a place when the machine runs."""

    where: str
    unit: str
    whose: str


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """Warnings about nodes and devices."""
    yield from _nodes(image)
    yield from _mount_points(image)
    yield from _devices(image.config, image.root.facts.partitions)


def _nodes(image: ConfiguredImage) -> Iterator[Problem]:
    mounts = [*_mounts(image)]
    mine = [(format_mount_point(filesystem), at) for filesystem, at in list_mounted_filesystems(image.config)]
    storage = image.config.storage
    for kind, nodes in zip(_LISTS, (storage.directories, storage.files, storage.links), strict=True):
        for index, node in enumerate(nodes):
            at: Path = ("storage", kind, index, "path")
            place = image.locate(node.path)
            if not is_writable(place):
                continue  # the machine refuses that itself
            if _is_below(place, MEMORY):
                yield _warning(at, f"'{node.path}' is in memory: it is gone when the machine is switched off")
                continue
            over = next((mount for mount in mounts if _is_below(place, mount.where)), None)
            if over is not None and over.where not in dict(mine):
                message = f"'{node.path}' will not be seen: {over.unit} {over.whose} mounts something over {over.where}"
                yield _warning(at, message, "write it elsewhere, or into that filesystem: storage.filesystems")
    units = {mount.where for mount in mounts}
    inside = [node.path for nodes in (storage.directories, storage.files) for node in nodes]
    for path, here in mine:
        if path not in units and any(_is_below(place, path) and place != path for place in inside):
            message = f"nothing mounts {path} after the first boot, so what the config puts there is not seen"
            yield _warning((*here, "path"), message, "set 'with_mount_unit: true', or add a mount unit")


def _mounts(image: ConfiguredImage) -> Iterator[Mount]:
    for units, whose in ((image.own_units, "of this config"), (image.image_units, "of the image")):
        for unit in units:
            if not unit.name.endswith(".mount") or (whose == "of the image" and unit.name not in image.started):
                continue
            for _, value in unit.list_values("Mount", "Where"):
                where = image.locate(value)
                if where != ALWAYS and not any(_is_below(where, place) for place in (MEMORY, *KERNEL)):
                    yield Mount(where, unit.name, whose)


def _mount_points(image: ConfiguredImage) -> Iterator[Problem]:
    """Where systemd cannot mount: over a link, or where it cannot make the directory (systemd.mount(5))."""
    # The machine refuses these itself.
    told = {format_mount_point(filesystem) for filesystem, _ in list_mounted_filesystems(image.config)}
    for unit in image.own_units:
        if not unit.name.endswith(".mount"):
            continue
        for name, value in unit.list_values("Mount", "Where"):
            place = image.locate(value)
            if value in told or "%" in value or any(_is_below(place, directory) for directory in (MEMORY, *KERNEL)):
                continue
            if place != posixpath.normpath(value):
                message = f"{name}={value} leads over a link to {place}, and systemd mounts nothing there"
                yield unit.make_warning(
                    name, value, message, f"name the unit {escape(place)}.mount, with {name}={place}"
                )
            elif not is_writable(place) and not image.has(place):
                message = f"{name}={value} is not in the image, which is read-only"
                yield unit.make_warning(
                    name, value, message, "mount it below /var, or put the directory into the image"
                )


def _devices(config: Config, partitions: Mapping[str, object]) -> Iterator[Problem]:
    """Devices by a name that neither the image's layout nor the config gives to anything."""
    storage = config.storage
    made = {str(part.label) for disk in storage.disks for part in disk.partitions if part.label}
    labels = {str(filesystem.label) for filesystem in storage.filesystems if filesystem.label}
    known = {
        "/dev/disk/by-partlabel/": {*made, *partitions},
        "/dev/disk/by-label/": {*labels, *(str(device.label) for device in storage.luks if device.label)},
        "/dev/md/": {str(array.name) for array in storage.raid},
        "/dev/mapper/": {*(str(device.name) for device in storage.luks), "root"},
    }
    what = {"/dev/disk/by-partlabel/": "partition", "/dev/disk/by-label/": "filesystem"}
    what |= {"/dev/md/": "RAID", "/dev/mapper/": "encrypted device"}
    for group in storage.lvm:
        known[prefix := f"/dev/{group.name}/"] = {str(volume.name) for volume in group.volumes}
        what[prefix] = "logical volume"
    for at, device in _named(config):
        for prefix, names in known.items():
            name = device.removeprefix(prefix)
            if name == device:
                continue
            if name not in names:
                hint = (
                    f"this config makes {', '.join(sorted(made_here))}"
                    if (made_here := names - {*partitions})
                    else None
                )
                yield _warning(at, f"no {what[prefix]} '{name}' is in the image's layout or made by this config", hint)
            elif prefix == "/dev/disk/by-partlabel/" and name in partitions and name not in made:
                yield _warning(at, f"the partition '{name}' is the image's own", "use a partition of another disk")


def _named(config: Config) -> Iterator[tuple[Path, str]]:
    storage = config.storage
    for index, filesystem in enumerate(storage.filesystems):
        yield ("storage", "filesystems", index, "device"), str(filesystem.device)
    for index, encrypted in enumerate(storage.luks):
        yield ("storage", "luks", index, "device"), str(encrypted.device or "")
    for index, array in enumerate(storage.raid):
        for position, device in enumerate(array.devices):
            yield ("storage", "raid", index, "devices", position), str(device)
    for index, group in enumerate(storage.lvm):
        for position, device in enumerate(group.devices):
            yield ("storage", "lvm", index, "devices", position), str(device)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _warning(at: Path, message: str, hint: str | None = None) -> Problem:
    return Problem(at, message, hint, "warning")
