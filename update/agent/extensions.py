"""Extensions that a machine has (systemd-sysext(8)): of each an image for every version that it can start.

``/var/lib/extensions/NAME_VERSION.raw``: systemd merges those that say they are for the version that runs, and passes
over the others. So the image for a new version is put beside the one for the version that runs, and a machine that goes
back finds what it had.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from firstboot.config.named_tuple import NamedTuple
from firstboot.config.update_words import VERSION_PATTERN
from update.agent.host import Host, sync_directory
from update.agent.payload import unpack_part
from update.agent.space import require_space
from update.documents import EXTENSION_TYPES, Release, ReleaseExtension
from update.errors import UpdateError

DIRECTORIES = {"sysext": "/var/lib/extensions", "confext": "/var/lib/confexts"}
UNITS = "extension-units.service"
_IMAGE = re.compile(rf"(?P<name>[a-z0-9][a-z0-9-]*)_(?P<version>{VERSION_PATTERN})\.raw")


class Installed(NamedTuple):
    """An extension for one version, as it lies on the machine."""

    name: str
    version: str
    type: str
    path: Path


def list_installed(host: Host, version: str | None = None) -> list[Installed]:
    """The extensions that the machine has, of all versions or one. What has another name, somebody else looks after."""
    installed = []
    for kind in EXTENSION_TYPES:
        directory = host.locate(DIRECTORIES[kind])
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            match = _IMAGE.fullmatch(path.name)
            if match is not None and version in (None, match["version"]):
                installed.append(Installed(match["name"], match["version"], kind, path))
    return installed


def choose_extensions(host: Host, running: str, release: Release) -> tuple[ReleaseExtension, ...]:
    """Those of a new version that this machine has for the version that runs.

    Raises:
        UpdateError: the new version lacks one, and the machine would lose what it brings.
    """
    names = dict.fromkeys(extension.name for extension in list_installed(host, running))
    chosen = {name: release.find_extension(name) for name in names}
    for name, extension in chosen.items():
        if extension is None:
            raise UpdateError(
                f"version {release.version} has no extension '{name}', which this machine has; "
                f"'os-update extensions remove {name}' lets it go on without"
            )
    return tuple(extension for extension in chosen.values() if extension is not None)


def install_extensions(
    host: Host, release: Release, extensions: Sequence[ReleaseExtension], directory: Path, keep: Collection[str]
) -> None:
    """Put the images of a version where systemd finds them, each whole or not at all.

    Args:
        directory: where their files lie.
        keep: images of these extensions for other versions are removed.

    Raises:
        UpdateError: one is not what ``release.json`` says, or there is no room.
    """
    for extension in extensions:
        target = host.locate(DIRECTORIES[extension.type])
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        for other in list_installed(host):
            if other.name == extension.name and other.version not in keep:
                other.path.unlink()
        require_space(target, extension.part.size, DIRECTORIES[extension.type])
        # A name with a dot in front is no image to systemd.
        new = target / f".{extension.name}_{release.version}.raw"
        try:
            unpack_part(host, extension.part, f"extension {extension.name}", directory, new)
            new.chmod(0o644)
            new.rename(target / new.name.removeprefix("."))
        except (UpdateError, OSError):
            with suppress(OSError):
                new.unlink()
            raise
        sync_directory(target)


def remove_extension(host: Host, name: str) -> None:
    """Remove an extension's images of all versions, and take it out of what runs.

    Raises:
        UpdateError: the machine has none of this name, or systemd cannot do it.
    """
    there = [extension for extension in list_installed(host) if extension.name == name]
    if not there:
        raise UpdateError(f"this machine has no extension '{name}'")
    for extension in there:
        extension.path.unlink()
    merge(host, {extension.type for extension in there})


def merge(host: Host, types: Collection[str]) -> None:
    """Have systemd look at what is there now, and start what new units want.

    Raises:
        UpdateError: it could not.
    """
    for kind in sorted(types):
        host.run(["systemctl", "restart", f"systemd-{kind}.service"])
    host.run(["systemd-tmpfiles", "--create"])
    host.run(["systemctl", "start", UNITS])
