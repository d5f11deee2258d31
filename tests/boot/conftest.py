"""One demo machine, booted once, for the tests that do not disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.image import Image, read_image
from builder.core.store import Store
from tests.support.machines import booted
from vm.machine import Machine
from vm.testing.rerun import make_session_suffix

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

REPOSITORY = Path(__file__).parent.parent.parent
MACHINES = REPOSITORY / "configs" / "machines"
RUNTIMES = "tests/boot/runtimes/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Tests that one machine serves go to one worker: those of a file, and all of the runtimes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByMachine(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return RUNTIMES if path.startswith(RUNTIMES) else path

    return ByMachine(config, log)


@pytest.fixture(scope="session")
def image(demo: Path) -> Image:
    """The demo, built if it is not."""
    return read_image(demo)


@pytest.fixture(scope="module")
def demo_machine(demo: Path, store: Store, pytestconfig: pytest.Config) -> Iterator[Machine]:
    """The demo as 'make demo' boots it: UEFI, its own first-boot YAML."""
    folder = REPOSITORY / "out" / "boot-tests" / f"demo{make_session_suffix(pytestconfig)}"
    with booted(demo, folder, store, config=MACHINES / "demo.yaml", memory=2048) as machine:
        yield machine
