"""An image for another architecture boots here, and is set up as its configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.core.store import Store
from tests.support.machines import booted
from vm.machine import Machine

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def arm_machine(arm64_demo: Path, store: Store) -> Iterator[Machine]:
    folder = REPOSITORY / "out" / "boot-tests" / "arm64"
    config = REPOSITORY / "configs" / "machines" / "demo.yaml"
    with booted(arm64_demo, folder, store, seconds=120, config=config, memory=2048) as machine:
        yield machine


def test_the_machine_is_provisioned(arm_machine: Machine) -> None:
    assert arm_machine.succeed("uname -m").strip() == "aarch64"
    assert arm_machine.succeed("hostname").strip() == "demo"
    assert arm_machine.succeed("id -un 1000").strip() == "core"
    assert arm_machine.succeed("systemctl --failed --no-legend") == ""


def test_there_is_a_login_prompt_on_the_serial_port(arm_machine: Machine) -> None:
    arm_machine.wait_console("demo login:")
    assert arm_machine.read("/sys/class/tty/console/active").split()[-1] == "ttyAMA0"


def test_its_container_is_of_its_architecture(arm_machine: Machine) -> None:
    assert "for arm64" in arm_machine.wait_http(8080)
    assert "arm64" in arm_machine.succeed("podman image inspect --format {{.Architecture}} localhost/web:1.0.0")


def test_the_loaders_cache_names_its_libraries(arm_machine: Machine) -> None:
    assert "libc.so.6 (libc6,AArch64) => /lib/aarch64-linux-gnu/libc.so.6" in arm_machine.succeed("ldconfig -p")
