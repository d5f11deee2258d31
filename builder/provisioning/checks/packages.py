"""What a config writes for programs that the image does not have."""

from __future__ import annotations

from collections.abc import Iterator

from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.checks.readers import READERS, WITHOUT_NETWORKD
from firstboot.config.text import Path, Problem
from firstboot.engine.keyfiles import NETWORKD

DEFAULTS = "/etc/default/"
# Of the base system; nothing is named like them.
_READ_BY_MANY = frozenset(("console-setup", "grub", "keyboard", "locale", "nss", "useradd"))


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """A warning for each file that nobody reads, and for keys that nobody asks for."""
    readers = READERS if image.has(NETWORKD) else (*READERS, WITHOUT_NETWORKD)
    missing = [reader for reader in readers if not image.has(reader.program)]
    for index, file in enumerate(image.config.storage.files):
        at: Path = ("storage", "files", index, "path")
        for reader in missing:
            if any(
                file.path == place or (place.endswith("/") and file.path.startswith(place)) for place in reader.paths
            ):
                name = reader.program.rpartition("/")[2]
                message = f"{file.path}: nobody {reader.what}, for {name} is not in the image"
                yield Problem(at, message, reader.hint, "warning")
                break
        if file.path.startswith(DEFAULTS) and not _has_reader(file.path.removeprefix(DEFAULTS), image):
            name = file.path.removeprefix(DEFAULTS)
            message = f"{file.path}: nobody reads it, for {name} is not in the image"
            yield Problem(at, message, "add its package to the image's definition", "warning")
    if image.has("/usr/sbin/sshd"):
        return
    for index, user in enumerate(image.config.passwd.users):
        if user.ssh_authorized_keys and user.should_exist is not False:
            at = ("passwd", "users", index, "sshAuthorizedKeys")
            message = f"{user.name} cannot log in with these: sshd is not in the image"
            yield Problem(at, message, "add the feature 'ssh' to the image's definition", "warning", on_key=True)


def _has_reader(name: str, image: ConfiguredImage) -> bool:
    """Whether a unit names a file of defaults, or the image has a program, unit or defaults of that name."""
    path = f"{DEFAULTS}{name}"
    if name in _READ_BY_MANY or image.root.has(path) or image.has_unit(f"{name}.service"):
        return True
    if any(path in unit.text for unit in (*image.own_units, *image.image_units)):
        return True
    return any(image.has(f"{directory}/{name}") for directory in ("/usr/bin", "/usr/sbin", "/etc/init.d"))
