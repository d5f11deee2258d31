"""A container with tools, from which the whole machine can be looked into: nothing is pulled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted, build_text

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
DEFINITION = """\
name: tools
version: 1.0.0
features: [base, toolbox]
containers:
  - name: toolbox
    definition: containers/toolbox.yaml
    enable: false
outputs: [qcow2]
"""
CONFIG = """\
variant: buildos
version: 1.0.0
passwd:
  users:
    - name: ops
      groups: [sudo]
    - name: guest
"""


def test_an_administrator_sees_the_machine_from_a_container_and_nobody_else_does(store: Store) -> None:
    out = REPOSITORY / "out" / "toolbox"
    shutil.copytree(REPOSITORY / "configs" / "containers", out / "containers", dirs_exist_ok=True)
    manifest = build_text(DEFINITION, out, store)
    config = out / "machine.yaml"
    config.write_text(CONFIG)
    with booted(manifest, out / "machine", store, config=config, net="none", boot="kernel") as machine:
        look = "cat /host/etc/hostname /proc/1/comm; id -u; gdb --version | head -n 1; ls /host/var/lib/firstboot"
        seen = machine.succeed("runuser", "-u", "ops", "--", "toolbox", "sh", "-c", look)
        assert "systemd\n0\nGNU gdb" in seen
        assert "result.json" in seen
        assert machine.unit("toolbox.service")["ActiveState"] == "inactive"
        machine.fail("runuser", "-u", "guest", "--", "toolbox", "true")
        nothing = machine.fail("runuser -u ops -- env TOOLBOX_IMAGE=localhost/none toolbox true")
        assert "localhost/none" in nothing.stderr
