"""Programs whose work is done once for the whole image, by a handler or a stage, or by the machine itself."""

from __future__ import annotations

from collections.abc import Callable

from builder.debian.scripts.effects import Does
from builder.debian.scripts.language.control_flow import Status
from builder.debian.scripts.language.evaluator import Shell, make_models

LIBRARIES = "the index of shared libraries is made when all packages are in"
MODULES = "the index of kernel modules is made when all packages are in"
INITRD = "build-os makes its own initrd"
CERTIFICATES = "the bundle of certificates is made when all packages are in"
LOADER = "build-os installs the boot loader"
CACHE = "an index that its handler makes when all packages are in"
HARDWARE = "the hardware database is made when all packages are in"

BY_WHAT = {
    "ldconfig": LIBRARIES,
    "depmod": MODULES,
    "update-initramfs": INITRD, "mkinitramfs": INITRD, "dracut": INITRD, "linux-update-symlinks": LOADER,
    "update-grub": LOADER, "grub-install": LOADER, "bootctl": LOADER, "kernel-install": LOADER, "zipl": LOADER,
    "update-grub2": LOADER, "flash-kernel": LOADER, "grub-mkconfig": LOADER, "run-parts-kernel": LOADER,
    "linux-run-hooks": INITRD, "shadowconfig": "the shadow files are made with the static accounts",
    "ssh-keygen": "keys belong to a machine: first boot makes them",
    "update-ca-certificates": CERTIFICATES,
    "systemd-hwdb": HARDWARE, "journalctl": "the message catalog is made when all packages are in",
    "update-mime-database": CACHE, "update-desktop-database": CACHE, "gtk-update-icon-cache": CACHE,
    "update-icon-caches": CACHE, "glib-compile-schemas": CACHE, "fc-cache": CACHE,
    "mandb": CACHE, "gdk-pixbuf-query-loaders": CACHE, "gio-querymodules": CACHE,
    "gtk-query-immodules-3.0": CACHE, "gtk-query-immodules-2.0": CACHE, "update-menus": CACHE,
    "dbus-uuidgen": "first boot gives the machine its identity",
    "pam-auth-update": "PAM profiles are written when all packages are in",
    "systemd-machine-id-setup": "first boot gives the machine its identity",
}  # fmt: skip


def _generated(name: str, why: str) -> Callable[[Shell, list[str]], Status]:
    def run(shell: Shell, arguments: list[str]) -> Status:
        shell.system.note(Does.GENERATED, name, why)
        return 0

    return run


COMMANDS = make_models({name: _generated(name, why) for name, why in BY_WHAT.items()}, accept_unknown=("ssh-keygen",))
