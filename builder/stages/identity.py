"""What the image says it is, and nothing of what one machine is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from builder.stages.stage import Context
from builder.tree.node import make_file
from builder.tree.tree import Tree

ORIGIN = "stage:identity"
OS_RELEASE = "/usr/lib/os-release"
CREDENTIALS = "/usr/lib/build-os/credentials"  # read by firstboot/credentials.py
# The feature by which machines take extensions, and what those are compared with (os-release(5)).
EXTENSIONS = "extensions"
LEVELS = ("SYSEXT_LEVEL", "CONFEXT_LEVEL")
# Made on the machine at its first boot, and never in an image that many machines share.
OF_ONE_MACHINE = (
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ecdsa_key.pub",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/hostname",
    "/etc/machine-info",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
)
LOCAL_TIME = "/etc/localtime"
UTC = ("/usr/share/zoneinfo/Etc/UTC", "/usr/share/zoneinfo/UTC")


def make_level(name: str, version: str) -> str:
    """What an extension must say that is for this version of a system, and for no other."""
    return f"{name}_{version}"


@dataclass(frozen=True)
class Identity:
    """``os-release(5)`` with ``IMAGE_ID`` and ``IMAGE_VERSION``; an empty machine-id; a manifest of the packages.

    Attributes:
        credentials: globs of names of what services may get from the platform, where that is not all or nothing.
    """

    name: ClassVar[str] = "identity"
    checkpoint: ClassVar[bool] = False

    image: str
    version: str
    arch: str
    features: tuple[str, ...]
    packages: tuple[tuple[str, str, str], ...]
    credentials: tuple[str, ...] | None = None

    def apply(self, tree: Tree, context: Context) -> Tree:  # noqa: ARG002 - every stage has the same door
        """The tree, named and versioned."""
        lines = [
            line
            for line in tree.read_text(OS_RELEASE).splitlines()
            if line.partition("=")[0] not in ("PRETTY_NAME", "IMAGE_ID", "IMAGE_VERSION", "DEFAULT_HOSTNAME")
        ]
        base = next((line.partition("=")[2].strip('"') for line in lines if line.startswith("NAME=")), "Debian")
        lines = [
            f'PRETTY_NAME="{self.image} {self.version} ({base})"',
            *lines,
            f"IMAGE_ID={self.image}",
            f"IMAGE_VERSION={self.version}",
            f"DEFAULT_HOSTNAME={self.image}",
        ]
        if EXTENSIONS in self.features:
            lines += [f"{level}={make_level(self.image, self.version)}" for level in LEVELS]
        tree.put(
            OS_RELEASE,
            tree.require(OS_RELEASE).copy_with(content=make_file("\n".join(lines) + "\n", origin=ORIGIN).content),
        )
        for path in OF_ONE_MACHINE:
            tree.remove(path)
        # A missing link means UTC (localtime(5)). Debian's would stand in the way of configs that make one for
        # their machine without 'overwrite', because Fedora CoreOS and Flatcar have none.
        local_time = tree.get(LOCAL_TIME)
        if local_time is not None and tree.resolve(LOCAL_TIME) in UTC:
            tree.remove(LOCAL_TIME)
        tree.put("/etc/machine-id", make_file("uninitialized\n", 0o444, origin=ORIGIN))
        manifest = {
            "name": self.image,
            "version": self.version,
            "arch": self.arch,
            "features": self.features,
            "packages": [{"name": n, "version": v, "source": s} for n, v, s in self.packages],
        }
        tree.put("/usr/lib/build-os/image.json", make_file(json.dumps(manifest, indent=1) + "\n", origin=ORIGIN))
        if self.credentials and "*" not in self.credentials:
            tree.put(CREDENTIALS, make_file("".join(f"{name}\n" for name in self.credentials), origin=ORIGIN))
        return tree
