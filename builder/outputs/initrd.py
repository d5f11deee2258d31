"""Our own initrd: a small tree picked from the image's own tree, by closure instead of by list.

It mounts the verity root, makes and mounts the ``state`` partition, puts ``/etc`` and ``/var`` together, runs the
provisioner from the root it has just verified, and switches there. It carries no Python and no shell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from builder.core.tools import Tools
from builder.tree.cpio import write_cpio
from builder.tree.elf import find_closure, require_library
from builder.tree.materialise import read_tree
from builder.tree.modules import decompress_module, find_kernel_release, find_modules, index_modules, require_known
from builder.tree.node import Kind, Node, make_directory, make_file, make_symlink
from builder.tree.tree import Tree

ORIGIN = "stage:initrd"
SYSTEMD = "/usr/lib/systemd"
PIECE = 1 << 20  # bytes of files that are worth an archive of their own

PROGRAMS = (
    f"{SYSTEMD}/systemd",
    f"{SYSTEMD}/systemd-executor",
    f"{SYSTEMD}/systemd-journald",
    f"{SYSTEMD}/systemd-udevd",
    f"{SYSTEMD}/systemd-modules-load",
    f"{SYSTEMD}/systemd-sysctl",  # what udev's rules run for each network interface
    f"{SYSTEMD}/systemd-veritysetup",
    f"{SYSTEMD}/systemd-shutdown",
    f"{SYSTEMD}/system-generators/systemd-fstab-generator",
    f"{SYSTEMD}/system-generators/systemd-veritysetup-generator",
    "/usr/bin/systemctl",
    "/usr/bin/udevadm",
    "/usr/bin/systemd-repart",
    "/usr/bin/kmod",
    "/usr/bin/mount",
    "/usr/bin/umount",
    "/usr/bin/mkdir",
    "/usr/bin/cat",
    "/usr/sbin/dmsetup",
    "/usr/sbin/e2fsck",
    "/usr/sbin/mke2fs",
)
# What makes and opens an encrypted state partition, and measures that the initrd begins and ends (PCR 11).
ENCRYPTION_PROGRAMS = (
    f"{SYSTEMD}/systemd-pcrextend",
    "/usr/bin/systemd-cryptenroll",
    "/usr/bin/systemd-cryptsetup",
)
LINKS = (
    ("/init", "usr/lib/systemd/systemd"),
    ("/usr/sbin/init", "../lib/systemd/systemd"),
    ("/usr/sbin/modprobe", "../bin/kmod"),
    ("/usr/sbin/mkfs.ext4", "mke2fs"),
)
# Loaded on demand through dlopen, and needed here.
LIBRARIES = ("libkmod.so.2", "libblkid.so.1", "libmount.so.1", "libcryptsetup.so.12", "libfdisk.so.1")

TPM_LIBRARIES = ("libtss2-esys.so.0", "libtss2-mu.so.0", "libtss2-rc.so.0")
TPM_DEVICE = "libtss2-tcti-device.so.0"  # by a name that is put together when a device is found

# systemd's own units that the way to the root needs; what they want beyond this list is left out.
UNITS = (
    "basic.target",
    "sysinit.target",
    "local-fs.target",
    "local-fs-pre.target",
    "cryptsetup.target",
    "veritysetup.target",
    "veritysetup-pre.target",
    "remote-veritysetup.target",
    "paths.target",
    "slices.target",
    "sockets.target",
    "timers.target",
    "swap.target",
    "shutdown.target",
    "umount.target",
    "final.target",
    "reboot.target",
    "systemd-reboot.service",
    "poweroff.target",
    "systemd-poweroff.service",
    "halt.target",
    "systemd-halt.service",
    "emergency.target",
    "initrd.target",
    "initrd-fs.target",
    "initrd-root-device.target",
    "initrd-root-fs.target",
    "initrd-usr-fs.target",
    "initrd-switch-root.target",
    "initrd-switch-root.service",
    "initrd-cleanup.service",
    "initrd-udevadm-cleanup-db.service",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
    "systemd-modules-load.service",
    "systemd-repart.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
)
WANTS = (
    ("sysinit.target", "systemd-udevd.service"),
    ("sysinit.target", "systemd-udev-trigger.service"),
    ("sysinit.target", "systemd-journald.service"),
    ("sysinit.target", "systemd-modules-load.service"),
    ("sysinit.target", "veritysetup.target"),
    ("sockets.target", "systemd-udevd-control.socket"),
    ("sockets.target", "systemd-udevd-kernel.socket"),
    ("sockets.target", "systemd-journald.socket"),
    ("sockets.target", "systemd-journald-dev-log.socket"),
    ("initrd-root-fs.target", "systemd-repart.service"),
    ("initrd.target", "initrd-cleanup.service"),
)
ENCRYPTION_UNIT = "systemd-pcrphase-initrd.service"
RULES = (
    "50-udev-default.rules",
    "55-dm.rules",
    "60-block.rules",
    "60-persistent-storage.rules",
    "60-persistent-storage-dm.rules",
    "80-drivers.rules",
    "95-dm-notify.rules",
    "99-systemd.rules",
)
DATA = ("/etc/mke2fs.conf", "/usr/lib/os-release")

# On the way to the root on every platform we make images for; the rest is loaded from the root itself.
MODULES = (
    "dm-verity", "erofs", "overlay", "loop",
    "sha256-ssse3", "sha256-arm64", "sha2-ce", "crc32c-intel", "crc32-pclmul",
    "virtio_pci", "virtio_blk", "virtio_scsi", "virtio_console", "virtio_mmio", "virtio_rng", "qemu_fw_cfg",
    "nvme", "ahci", "sd_mod", "vmw_pvscsi", "mptspi", "xen-blkfront",
    "hv_vmbus", "hv_storvsc", "hv_utils", "gve",
    # Not on the way, but systemd loads it first of all, for automounts, and complains where it is missing.
    "autofs4",
)  # fmt: skip
ENCRYPTION_MODULES = (
    "dm-crypt", "xts", "aesni-intel", "aes-ce-blk", "aes-neon-blk",
    "tpm_tis", "tpm_crb",
    "efivarfs",  # says that systemd-stub has measured
)  # fmt: skip
# An image that wants the hardware's watchdog wants it from here on, or nobody notices what hangs in the initrd.
# systemd opens the device when udev has loaded what drives it; before the root starts, it is turned off once more.
WATCHDOG = f"{SYSTEMD}/system.conf.d/50-watchdog.conf"
WATCHDOG_MODULES = ("i6300esb", "wdat_wdt", "iTCO_wdt", "lpc_ich", "i2c_i801", "sp5100_tco", "hpwdt", "sbsa_gwdt")
# What the image has systemd do about it otherwise: systemd-system.conf(5).
SETTINGS, SETTINGS_D = "/etc/systemd/system.conf", ("/etc/systemd/system.conf.d", f"{SYSTEMD}/system.conf.d")
# Loaded at once, because nothing on the way asks for them by alias early enough. Without loop, systemd-repart makes
# the file system in memory and not on the disk, and a first boot ends there.
LOAD_NOW = ("dm-verity", "erofs", "loop", "overlay")


def make_initrd_tree(
    image: Tree, overlays: Sequence[Path], extra_modules: Sequence[str] = (), *, encrypted_state: bool = False
) -> Tree:
    """Pick the initrd's files out of the image's tree and add our units from ``overlays``.

    Args:
        encrypted_state: whether the TPM opens the state partition.

    Raises:
        TreeError: the image lacks a program, library or unit that the initrd needs.
    """
    tree = Tree()
    for path in ("/dev", "/proc", "/sys", "/run", "/tmp", "/sysroot", "/var/tmp", "/root"):
        tree.put(path, make_directory(origin=ORIGIN))
    for name in ("bin", "sbin", "lib", "lib64"):
        if f"/{name}" in image:
            tree.put(f"/{name}", image.require(f"/{name}", follow=False))
    names = (*PROGRAMS, *(ENCRYPTION_PROGRAMS if encrypted_state else ()))
    programs = [image.resolve(path, follow_last=False) for path in names]
    if encrypted_state:
        programs.append(require_library(image, TPM_DEVICE))
    libraries = (*LIBRARIES, *(TPM_LIBRARIES if encrypted_state else ()))
    for path in find_closure(image, programs, wanted=libraries):
        tree.put(path, image.require(path, follow=False))
    for link, target in LINKS:
        tree.put(link, make_symlink(target, origin=ORIGIN))
    _copy_units(image, tree, (ENCRYPTION_UNIT,) if encrypted_state else ())
    for name in RULES:
        path = f"/usr/lib/udev/rules.d/{name}"
        tree.put(path, image.require(path))
    for path in DATA:
        tree.put(path, image.require(path))
    tree.put("/etc/os-release", make_symlink("../usr/lib/os-release", origin=ORIGIN))
    tree.put("/etc/initrd-release", make_symlink("../usr/lib/os-release", origin=ORIGIN))
    for name in ("passwd", "group"):
        tree.put(f"/etc/{name}", image.require(f"/etc/{name}"))
    # Ours are for all kernels, and some lack some; what the definition names must be there.
    require_known(image, find_kernel_release(image), extra_modules)
    has_watchdog = WATCHDOG in image
    if has_watchdog:
        paths = [f"{directory}/{name}" for directory in SETTINGS_D for name in image.list_children(directory)]
        for path in (SETTINGS, *paths):
            if (node := image.get(path)) is not None:
                tree.put(path, node)
    optional = (*(ENCRYPTION_MODULES if encrypted_state else ()), *(WATCHDOG_MODULES if has_watchdog else ()))
    _copy_modules(image, tree, (*MODULES, *optional, *extra_modules))
    for overlay in overlays:
        for path, node in read_tree(overlay, origin=f"overlay:{overlay.name}").walk():
            if path != "/" and not (node.kind is Kind.DIRECTORY and path in tree):
                tree.put(path, node)
    return tree


def _copy_units(image: Tree, tree: Tree, more: Sequence[str]) -> None:
    directory_path = f"{SYSTEMD}/system"
    for name in (*UNITS, *more):
        tree.put(f"{directory_path}/{name}", image.require(f"{directory_path}/{name}"))
    for target, unit in (*WANTS, *(("initrd.target", name) for name in more)):
        tree.put(f"{directory_path}/{target}.wants/{unit}", make_symlink(f"../{unit}", origin=ORIGIN))
    tree.put(f"{directory_path}/default.target", make_symlink("initrd.target", origin=ORIGIN))


def _copy_modules(image: Tree, tree: Tree, wanted: Sequence[str]) -> None:
    release = find_kernel_release(image)
    base = f"/usr/lib/modules/{release}"
    for path in find_modules(image, release, wanted):
        tree.put(path, image.require(path))
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if f"{base}/{name}" in image:
            tree.put(f"{base}/{name}", image.require(f"{base}/{name}"))
    text = "".join(f"{name}\n" for name in LOAD_NOW)
    tree.put("/usr/lib/modules-load.d/initrd.conf", make_file(text, origin=ORIGIN))


def unpack_modules(tree: Tree) -> Tree:
    """The same with its kernel modules decompressed: unpacking under emulation costs more than the bytes do.

    Raises:
        TreeError: a module is broken.
    """
    return Tree(dict(decompress_module(path, node) for path, node in tree.walk()))


def split_by_package(tree: Tree) -> list[Tree]:
    """What is compressed by itself: each package that has a MiB or more, and before those all else, directories too.

    The kernel unpacks one archive behind the other. So another version of a library changes the library's bytes and no
    others, and an update carries little more than that.
    """
    sizes = Counter[str]()
    for _, node in tree.walk():
        sizes[node.origin] += node.size if node.kind is Kind.FILE else 0
    large = sorted(origin for origin, size in sizes.items() if origin.startswith("package:") and size >= PIECE)
    pieces: dict[str, dict[str, Node]] = {name: {} for name in ("", *large)}
    for path, node in tree.walk():
        name = node.origin if node.origin in large and node.kind is not Kind.DIRECTORY else ""
        pieces[name][path] = node
    return [Tree(nodes) for nodes in pieces.values()]


def write_initrd(tree: Tree, tools: Tools, scratch: Path, out: Path) -> None:
    """Unpack and index the modules and write the tree as cpio archives, each compressed by zstd.

    Raises:
        TreeError: a module is broken.
    """
    tree = unpack_modules(tree)
    index_modules(tree, tools, scratch, origin=ORIGIN)
    plain = []
    for number, piece in enumerate(split_by_package(tree)):
        plain.append(scratch / f"initrd-{number:02}.cpio")
        with plain[-1].open("wb") as file_:
            write_cpio(piece, file_)
    # One frame of each, one behind the other: that is what --force agrees to.
    tools.run("zstd", "-q", "--force", "-10", "-T0", "--no-check", *plain, "-o", out)
    for path in plain:
        path.unlink()
