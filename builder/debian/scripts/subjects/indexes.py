"""Indexes that programs read instead of searching: shared libraries, kernel modules, hardware, messages."""

from __future__ import annotations

from builder.core.architecture import ARCHITECTURES
from builder.debian.scripts.subjects.generated import note_generated
from builder.debian.scripts.work import ORIGIN, Work
from builder.tree.library_cache import find_generator, make_cache
from builder.tree.modules import index_modules
from builder.tree.node import make_file
from builder.tree.shared_objects import CONFIG, find_libraries

LDCONFIG = "/usr/sbin/ldconfig"
HARDWARE, HARDWARE_PROGRAM = "/usr/lib/udev/hwdb.d", "/usr/bin/systemd-hwdb"
# The names of makers and models, for people who look at a list of devices: 12.5 of the database's 13.5 MB. No rule
# decides anything by them.
NAMES_OF_HARDWARE = (
    "20-OUI.hwdb",
    "20-acpi-vendor.hwdb",
    "20-bluetooth-vendor-product.hwdb",
    "20-pci-vendor-model.hwdb",
    "20-usb-vendor-model.hwdb",
)


def make_library_cache(work: Work) -> None:
    """``/etc/ld.so.cache``, byte for byte what ``ldconfig`` writes on a machine of the tree's architecture.

    Variants for newer processors (``glibc-hwcaps/``) are not in it: the loader takes the libraries for all.
    """
    facts = next((a for a in ARCHITECTURES.values() if work.has(f"/usr/lib/{a.multiarch}/libc.so.6")), None)
    if facts is None or not work.has(CONFIG):
        return
    generator = find_generator(work.tree.read(LDCONFIG)) if work.has(LDCONFIG) else b""
    libraries = find_libraries(work.tree, facts.elf_machine, facts.multiarch)
    work.tree.put(
        "/etc/ld.so.cache", make_file(make_cache(libraries, facts.library_flags, generator), 0o644, origin=ORIGIN)
    )


def make_module_index(work: Work) -> None:
    """``modules.dep`` and its like for every kernel in the tree, by ``depmod``."""
    index_modules(work.tree, work.tools, work.scratch, origin=ORIGIN)


def make_hardware_database(work: Work) -> None:
    """``hwdb.bin`` by ``systemd-hwdb``, where udev, whose program it is, would read it.

    Without :data:`NAMES_OF_HARDWARE`: a machine that wants those makes a database of its own, ``/etc/udev/hwdb.bin``.
    """
    if not work.has(HARDWARE) or not work.has(HARDWARE_PROGRAM):
        return
    with work.materialise_parts(HARDWARE) as part:
        for name in NAMES_OF_HARDWARE:
            (part.root / HARDWARE[1:] / name).unlink(missing_ok=True)
        (part.root / "run").mkdir()
        # It writes the names of its sources into the database, so they must be where the image has them. It also looks
        # into /run, where this machine's own would be.
        binds = [(part.root / name, f"/{name}") for name in ("usr/lib/udev", "run")]
        work.tools.run("systemd-hwdb", "update", "--usr", "--strict", binds=binds)
        part.absorb(work.tree, origin=ORIGIN, below="/usr/lib/udev/hwdb.bin")


def make_message_catalog(work: Work) -> None:
    """The catalog of log messages by ``journalctl``."""
    if not work.has("/usr/lib/systemd/catalog"):
        return
    with work.materialise_parts("/usr/lib/systemd/catalog") as part:
        catalog = part.root / "var/lib/systemd/catalog"
        catalog.mkdir(parents=True)
        catalog.chmod(0o755)  # whatever the caller's umask is
        work.tools.run("journalctl", "--update-catalog", f"--root={part.root}")
        part.absorb(work.tree, origin=ORIGIN, below="/var/lib/systemd/catalog")


COMMANDS = note_generated({
    "ldconfig": "the index of shared libraries is made when all packages are in",
    "depmod": "the index of kernel modules is made when all packages are in",
    "systemd-hwdb": "the hardware database is made when all packages are in",
    "journalctl": "the message catalog is made when all packages are in",
})  # fmt: skip
