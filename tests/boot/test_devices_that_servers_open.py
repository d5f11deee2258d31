"""Encrypted devices that a Tang server opens, alone or together with the TPM: at first boot and at the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.support.machines import booted, build_text
from vm.fakes import Fakes
from vm.fakes.tang import Tang
from vm.machine import Machine
from vm.spec.extra_disk import ExtraDisk

# An image and two boots of its own.
pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = Path(__file__).parents[2] / "out" / "tang"
# Devices have 90 s to appear, which says nothing under emulation on a busy computer.
DEFINITION = """\
name: tang
version: 1.0.0
features: [clevis]
outputs: [qcow2]
kernel: {command_line: [systemd.default_device_timeout_sec=infinity]}
"""
CONFIG = """\
variant: buildos
version: 1.0.0
storage:
  disks:
    - device: /dev/disk/by-id/virtio-data
      wipe_table: true
      partitions:
        - {{label: server, size_mib: 64}}
        - {{label: both, size_mib: 64}}
  luks:
    - name: server
      device: /dev/disk/by-partlabel/server
      wipe_volume: true
      clevis:
        tang:
          - {{url: "{url}", thumbprint: {thumbprint}}}
    - name: both
      device: /dev/disk/by-partlabel/both
      wipe_volume: true
      clevis:
        threshold: 2
        tpm2: true
        tang:
          - {{url: "{url}", thumbprint: {thumbprint}}}
  filesystems:
    - {{device: /dev/mapper/server, path: /var/lib/server, format: ext4, with_mount_unit: true}}
    - {{device: /dev/mapper/both, path: /var/lib/both, format: ext4, with_mount_unit: true}}
"""
NAMES = ("server", "both")


@pytest.fixture(scope="module")
def tang(store: Store) -> Iterator[Tang]:
    image = read_image(build_text(DEFINITION, OUT, store))
    with Fakes(Tools(image.tools, QuietConsole()), OUT) as fakes:
        yield fakes.tang()


@pytest.fixture(scope="module")
def machine(store: Store, tang: Tang) -> Iterator[Machine]:
    config = OUT / "machine.yaml"
    url = tang.web.url("", Fakes.HOST)
    config.write_text(CONFIG.format(url=url, thumbprint=tang.thumbprint), encoding="utf-8")
    options = {"config": config, "extra_disks": [ExtraDisk(1 << 30, "data")], "tpm": True, "restrict": False}
    with booted(OUT / "build.json", OUT / "machine", store, seconds=900, **options) as machine:
        yield machine


def test_the_server_opens_what_no_key_on_the_machine_does(machine: Machine, tang: Tang) -> None:
    assert [each.path for each in tang.web.requests] == [f"/adv/{tang.thumbprint}"] * len(tang.web.requests)
    assert tang.web.requests
    assert machine.fail("test", "-e", "/etc/luks").status == 1
    for name in NAMES:
        said = machine.succeed(f"cryptsetup luksDump /dev/disk/by-partlabel/{name}")
        assert said.count(": luks2") == 1
        assert ": clevis" in said
        machine.write(f"/var/lib/{name}/mine", f"{name}\n")
    machine.reboot()
    machine.wait_unit("remote-fs.target")
    assert [machine.read(f"/var/lib/{name}/mine") for name in NAMES] == [f"{name}\n" for name in NAMES]
    assert [each.method for each in tang.web.requests if each.path.startswith("/rec/")] == ["POST", "POST"]
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""
