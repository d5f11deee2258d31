"""A system as a container image: what the disk has as its root, without what only a machine needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from builder.core.tools import Tools
from builder.oci.changeset import make_parts
from builder.oci.check import validate_layout
from builder.oci.grouping import group_by_change
from builder.oci.image import LAYER_GZIP, Image, ImageConfig, write_layers
from builder.stages.seal import MOVED, ROOT_HOME_MODE
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree

ORIGIN = "output:oci"
# What of a root only a machine uses: the kernel with its modules and firmware, and the loader that its disk gets.
OF_MACHINES = ("/usr/lib/modules", "/usr/lib/firmware", "/usr/lib/systemd/boot")
# podman takes a container for one that runs systemd if its command has this name (podman-run(1), --systemd).
INIT = "/sbin/init"
# systemd's request to power off (systemd(1), "Signals").
STOP_SIGNAL = "SIGRTMIN+3"
# What tells systemd where it is when the runtime says nothing: https://systemd.io/CONTAINER_INTERFACE.
ENVIRONMENT = {"container": "oci", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}


def make_container_root(tree: Tree) -> Tree:
    """The root that a container of the system has.

    On a machine ``/var`` is made anew by systemd, and so it is where the container runs systemd; a command that runs
    alone finds the directories that programs take for granted. The machine-id is empty instead of ``uninitialized``:
    systemd makes one for each container, and does not take the start for a first boot, which would ask questions.
    """
    root = tree.copy()
    for path in OF_MACHINES:
        if path in root:
            root.remove(path)
    for path, target in MOVED:
        where = "/var/" + target.rpartition("var/")[2]
        if where not in root:
            root.put(where, make_directory(ROOT_HOME_MODE if path == "/root" else 0o755, origin=ORIGIN))
    if "/var/tmp" not in root:
        root.put("/var/tmp", make_directory(0o1777, origin=ORIGIN))
    root.put("/etc/machine-id", make_file("", 0o444, origin=ORIGIN))
    return root


def write_system_image(
    tree: Tree,
    out: Path,
    tools: Tools,
    *,
    name: str,
    version: str,
    architecture: str,
    created: int,
    sources: Mapping[str, str],
) -> Image:
    """Write the image layout of a system into the directory ``out``, which holds no other.

    Args:
        tree: the finished root.
        created: seconds since 1970.
        sources: package -> its source package; what changes together is in one layer.

    Raises:
        CapabilityError, ToolError: pigz is not there, or failed.
        OSError: ``out`` cannot be written, or content is gone from the store.
    """
    root = make_container_root(tree)
    config = ImageConfig(
        architecture=architecture,
        name=name,
        version=version,
        command=(INIT,),
        environment=ENVIRONMENT,
        stop_signal=STOP_SIGNAL,
        created=created,
    )
    image = write_layers(make_parts(Tree(), root, group_by_change(root, sources)), config, out, LAYER_GZIP, tools)
    if problems := validate_layout(out, tools):
        raise AssertionError(f"we wrote an image layout that is none: {problems}")
    return image
