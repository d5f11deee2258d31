"""What of a system's root a container of it has."""

from __future__ import annotations

import pytest

from builder.outputs.container_image import make_container_root
from builder.stages.seal import move_writable
from builder.tree.node import make_directory, make_file
from builder.tree.tree import Tree

pytestmark = pytest.mark.unit


def test_container_of_a_system_has_no_machine_and_its_homes() -> None:
    tree = Tree()
    for path in (
        "/etc/machine-id",
        "/usr/lib/modules/6.12/kernel/a.ko",
        "/usr/lib/systemd/boot/efi/x.efi",
        "/usr/bin/a",
    ):
        tree.put(path, make_file("uninitialized\n", origin="package:a"))
    tree.put("/usr/lib/tmpfiles.d", make_directory(origin="package:a"))
    tree.put("/var", make_directory(origin="package:a"))
    move_writable(tree)
    tree.remove("/var")
    tree.put("/var", make_directory(origin="stage:seal"))
    before = tree.encode()
    root = make_container_root(tree)
    assert tree.encode() == before, "the disk is made of it as well"
    assert root.read("/etc/machine-id") == b""
    assert "/usr/bin/a" in root
    assert "/usr/lib/modules" not in root
    assert "/usr/lib/systemd/boot" not in root
    assert (root.require("/root").mode, root.require("/home").mode) == (0o700, 0o755)
    assert root.require("/usr/local").mode == 0o755
    assert root.require("/var/tmp").mode == 0o1777
