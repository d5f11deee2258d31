"""The image that most tests here boot, and the order in which workers begin their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.image import Image, read_image

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

REPOSITORY = Path(__file__).parent.parent.parent
MACHINES = REPOSITORY / "configs" / "machines"
RUNTIMES = "tests/boot/runtimes/"


# Minutes of work each: they are begun first, so that at the end no worker is alone with one of them.
LONG = (
    RUNTIMES,
    *("tests/boot/test_disks.py", "tests/boot/test_damaged_state.py", "tests/boot/test_apps.py"),
    *("tests/boot/test_what_a_definition_lets_in.py", "tests/boot/test_secure_boot.py", "tests/boot/test_demo.py"),
    *("tests/boot/test_a_full_config.py", "tests/boot/test_budget_of_a_boot.py", "tests/boot/test_arm64.py"),
    *("tests/boot/test_kept_machines.py", "tests/boot/test_drift.py", "tests/boot/test_users_repository.py"),
    *("tests/boot/test_a_var_of_its_own.py", "tests/boot/guest/goes-on-after-a-reboot"),
    *("tests/boot/test_the_demo_command.py", "tests/boot/test_shutdown.py", "tests/boot/test_config_from_a_cloud.py"),
    *("tests/boot/test_config_from_a_drive.py", "tests/boot/test_a_remote_config.py", "tests/boot/test_daemons.py"),
    *("tests/boot/test_base.py", "tests/boot/test_refused_configs.py"),
)


def find_scope(nodeid: str) -> str:
    """Which tests go to one worker, because one machine serves them: those of a file, and all of the runtimes."""
    path = nodeid.partition("::")[0]
    return RUNTIMES if path.startswith(RUNTIMES) else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {scope: number for number, scope in enumerate(LONG)}
    items.sort(key=lambda item: order.get(find_scope(item.nodeid), len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    from xdist.scheduler import LoadScopeScheduling

    class ByMachine(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return find_scope(nodeid)

        def _reschedule(self, node: WorkerController) -> None:
            # A worker begins a test when it knows the next one. What it is given beyond that, nobody else can take.
            if node.shutting_down or not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
                super()._reschedule(node)

    config.option.loadscopereorder = False  # the order is that of LONG
    return ByMachine(config, log)


@pytest.fixture(scope="session")
def image(demo: Path) -> Image:
    """The demo, built if it is not."""
    return read_image(demo)
