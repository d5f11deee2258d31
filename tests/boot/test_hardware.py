"""What a machine can be made of besides disks and a card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.image import Image
from tests.support.machines import WITHOUT_CONTAINER
from vm.disks.bind import Bind, add_binds
from vm.machine import Machine
from vm.spec.folder import MachineFolder
from vm.spec.plan import plan_machine
from vm.spec.request import MachineRequest

if TYPE_CHECKING:
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.accel.choice import Verdict
    from vm.pytest_plugin import VmFactory

pytestmark = pytest.mark.boot


def test_an_image_that_nobody_signed_is_not_started_where_signatures_are_asked_for(vm_factory: VmFactory) -> None:
    vm = vm_factory(secure_boot=True, probe=False, net="none")
    vm.wait_console(r"BdsDxe: failed to load Boot\d+ .*: (Access Denied|Security Violation)")


@pytest.mark.slow
def test_a_watchdog_resets_a_machine_that_forgets_it_and_a_bound_directory_is_there(
    image: Image, vm_tools: Tools, vm_store: Store, vm_accel: Verdict, tmp_path: Path
) -> None:
    from vm.testing.fixtures import make_deadline

    source = tmp_path / "source"
    source.mkdir()
    (source / "page").write_text("from the host")
    folder = MachineFolder(tmp_path / "machine")
    folder.create()
    request = MachineRequest(memory=768, net="none", watchdog=True, boot="kernel", arguments=WITHOUT_CONTAINER)
    spec = plan_machine(image, folder, vm_accel.accel, request)
    spec = add_binds(replace(spec, name="watched"), [Bind(source, "/run/given/here")], vm_tools, folder)
    with Machine(spec, vm_tools, make_deadline(120, vm_accel), folder=folder.root, store=vm_store) as machine:
        machine.wait_unit("multi-user.target")
        assert machine.read("/run/given/here/page") == "from the host"
        machine.fail("touch", "/run/given/here/new")

        machine.succeed("modprobe", "i6300esb", "heartbeat=4")
        # Opened, fed once, and closed without saying that this was meant.
        machine.run_until_reboot("/bin/sh", "-c", "echo fed > /dev/watchdog; sleep 600")
        machine.wait_reset()
