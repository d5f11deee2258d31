"""Where a config may mount its filesystems, on an image of ours: not at links, and ``/var`` for good or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.config.clevis import find_binding
from firstboot.config.devices import Filesystem
from firstboot.config.models import Config
from firstboot.config.text import Path, Problem

VERIFIED = ("/", "/usr", "/boot", "/etc")
# What builder/stages/seal.py makes of them. systemd refuses a mount unit whose path leads through a link.
LINKS = {
    "/home": "/var/home",
    "/root": "/var/roothome",
    "/opt": "/var/opt",
    "/srv": "/var/srv",
    "/mnt": "/var/mnt",
    "/media": "/var/media",
    "/usr/local": "/var/usrlocal",
}
UNMOUNTED = ("swap", "none")
VAR = "/var"
VAR_UNIT = "var.mount"
VAR_UNIT_FILE = f"/etc/systemd/system/{VAR_UNIT}"  # the initrd looks for it: sysroot-var.mount


def list_mounted_filesystems(config: Config) -> Iterator[tuple[Filesystem, Path]]:
    """What has a mount point, a subvolume as a filesystem that shows it, and where the config says so."""
    for index, filesystem in enumerate(config.storage.filesystems):
        at: Path = ("storage", "filesystems", index)
        if filesystem.path:
            yield filesystem, at
        for position, subvolume in enumerate(filesystem.subvolumes):
            if subvolume.path:
                yield filesystem.derive_for_subvolume(subvolume), (*at, "subvolumes", position)


def format_mount_point(filesystem: Filesystem) -> str:
    """Its mount point as systemd writes it: no slash too many (systemd.unit(5), systemd-path-escape)."""
    return "/" + "/".join(part for part in str(filesystem.path).split("/") if part not in ("", "."))


def check_mount_points(config: Config) -> Iterator[Problem]:
    """Everything that would not hold on an image of ours."""
    for index, filesystem in enumerate(config.storage.filesystems):
        if filesystem.label == "root" and not filesystem.path:  # how Fedora CoreOS names the root anew
            yield _root(("storage", "filesystems", index), "/", "filesystem")
    for filesystem, at in list_mounted_filesystems(config):
        place = format_mount_point(filesystem)
        if place in VERIFIED:
            yield _root(at, place, "subvolume that is mounted" if "subvolumes" in at else "filesystem")
        for link, target in LINKS.items():
            if place == link or place.startswith(f"{link}/"):
                message = f"nothing can be mounted at {place}: {link} is a link to {target}"
                yield Problem((*at, "path"), message, f"mount it at {target}{place.removeprefix(link)}")
    yield from _var(config)


def _root(at: Path, place: str, what: str) -> Problem:
    hint = f"the root of the image is verified, with its boot files; data may be on a {what} below /var"
    return Problem(at, f"a filesystem at {place} is not supported by this version of build-os", hint)


def _var(config: Config) -> Iterator[Problem]:
    """The first boot writes to it, and every boot needs it early: both must find the same one."""
    mounted = [
        (filesystem, at)
        for filesystem, at in list_mounted_filesystems(config)
        if format_mount_point(filesystem) == VAR and filesystem.format not in UNMOUNTED
    ]
    units = [(unit, index) for index, unit in enumerate(config.systemd.units) if unit.name == VAR_UNIT]
    mounting = [(index, unit) for unit, index in units if unit.contents and not unit.mask]
    in_files = any(file.path == VAR_UNIT_FILE for file in config.storage.files)
    for filesystem, at in mounted:
        if not mounting and not in_files:
            message = "nothing mounts /var after the first boot, so nothing that is written there would be seen again"
            yield Problem((*at, "path"), message, "set 'with_mount_unit: true'")
        if _needs_network(filesystem.device, config):
            message = f"/var cannot be on {filesystem.device}: it needs a network to be opened, which comes after /var"
            yield Problem((*at, "device"), message, "open it with the TPM or a key, or mount it below /var")
    if not mounted:
        for index, _ in mounting:
            message = f"{VAR_UNIT} would hide what the first boot writes to /var: storage.filesystems has none there"
            hint = "describe it in storage.filesystems, with 'path: /var' and 'with_mount_unit: true'"
            yield Problem(("systemd", "units", index, "name"), message, hint)


def _needs_network(device: str, config: Config) -> bool:
    """Whether an encrypted device that a server opens is below it, also through a volume group."""
    below = {device}
    for group in config.storage.lvm:
        if device.startswith(f"/dev/{group.name}/"):
            below.update(group.devices)
    for luks in config.storage.luks:
        if below & {f"/dev/mapper/{luks.name}", f"/dev/disk/by-id/dm-name-{luks.name}"}:
            try:
                binding = find_binding(luks)
            except ValueError:
                continue  # said elsewhere
            if binding is not None and binding.network:
                return True
    return False
