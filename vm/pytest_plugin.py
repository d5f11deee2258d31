"""Virtual machines as pytest fixtures, for our tests and for those of everybody who builds images with build-os.

Loaded by every pytest run where build-os is installed, so it imports nothing of weight and does nothing until a
fixture is used::

    @pytest.mark.vm(config=Path("machines/web.yaml"), memory=2048)
    def test_nginx_answers(vm):
        assert "Welcome" in vm.wait_http(80)

``vm`` is a machine that has booted; it is woken up from a snapshot (:mod:`vm.machine.golden`), which takes a second.
``vm_factory(config=..., memory=..., ...)`` switches on machines to measure, for tests about booting; each has a
folder of its own with its logs. After each test the consoles and journals of its machines are looked through;
``@pytest.mark.allow_console("kernel panic")`` says what is expected there.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from vm.testing import FOLDERS, GUEST_DIRECTORY, MACHINE_FIXTURES, VARIABLE

if TYPE_CHECKING:
    from builder.core.image import Image
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.accel.choice import Verdict
    from vm.fakes import Fakes
    from vm.machine import Machine
    from vm.testing.pool import Pool

pytest_plugins = ["builder.provisioning.pytest_plugin"]


class VmFactory(Protocol):
    """Makes running machines for one test; they are put away when it ends.

    ``seconds`` is the machine's deadline on a host with KVM, ``check`` whether the config is compared with the image
    before it boots. Other options: :class:`vm.spec.request.MachineRequest`.
    """

    def __call__(
        self,
        *,
        seconds: float = ...,
        config: Path | str | None = ...,
        check: bool = ...,
        probe: bool = ...,
        **options: Any,
    ) -> Machine:
        """Start one."""


class Hooks:
    """What other plugins do for this one."""

    @pytest.hookspec(firstresult=True)
    def pytest_build_os_refusal(self, config_file: Path, build_json: Path) -> str | None:
        """Why a machine of this image would refuse the config; ``None`` if it would not, or nobody can tell."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Ours."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, in a group of their own."""
    group = parser.getgroup("build-os")
    group.addoption("--build-json", metavar="PATH", help=f"the image to boot (else ${VARIABLE})")
    group.addoption("--vm-folder", metavar="DIR", help="where machines' logs go (out/vm-tests of the project)")
    group.addoption("--vm-results", metavar="DIR", help="write index.html, results.json and junit.xml there")
    group.addoption("--vm-shell", action="store_true", help="when a test fails, a prompt in its machines")
    group.addoption("--vm-keep", action="store_true", help="when a test fails, its machines run on ('build-os ssh')")
    group.addoption("--vm-only", action="store_true", help="only tests that have to do with machines")
    group.addoption("--vm-list", metavar="FILE", help="write the names of the tests there (.json: as JSON)")
    group.addoption("--vm-pattern", metavar="GLOB", action="append", default=[], help="only tests with such names")
    group.addoption("--vm-multiply", metavar="N", type=int, default=1, help="run each test with a machine N times")
    group.addoption("--vm-shard", metavar="I/N", help="only the I-th of N parts; a machine's tests stay together")
    group.addoption("--vm-rerun", metavar="N", type=int, default=0, help="run tests that fail up to N times again")
    group.addoption("--vm-denylist", metavar="FILE", help="known failures (tests/denylist.yaml of the project)")
    parser.addini("vm_rerun_markers", "--vm-rerun is also for tests with these markers", type="args", default=[])


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register our markers, and who writes the results."""
    config.addinivalue_line("markers", "allow_console(regex, ...): console lines that are not bad signs in this test")
    config.addinivalue_line(
        "markers",
        "vm(config=, until=, isolation=, seconds=, memory=, ...): the machine that the fixture 'vm' gives this test",
    )

    if (text := config.getoption("--vm-results")) is not None and not hasattr(config, "workerinput"):
        from vm.testing.records import JUNIT, Results

        directory = config.invocation_params.dir / text
        config.pluginmanager.register(Results(directory), "build-os-results")
        config.option.xmlpath = config.option.xmlpath or str(directory / JUNIT)
    if (times := config.getoption("--vm-rerun")) > 0:
        from vm.testing.rerun import Rerun

        config.pluginmanager.register(Rerun(times), "build-os-rerun")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Programs in a directory ``guest`` are tests."""
    if file_path.parent.name != GUEST_DIRECTORY:  # of most projects, all that this plugin ever looks at
        return None
    from vm.testing.guest_scripts import GuestScript, is_guest_script

    return GuestScript.from_parent(parent, path=file_path) if is_guest_script(file_path) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With ``--vm-multiply``, every test with a machine is as many tests."""
    times = metafunc.config.getoption("--vm-multiply")
    if times > 1:
        from vm.testing.selection import ROUND

        if MACHINE_FIXTURES.intersection(metafunc.fixturenames):
            metafunc.fixturenames.append(ROUND)
            metafunc.parametrize(ROUND, range(times), ids=[f"round{number + 1}" for number in range(times)])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not asked for."""
    if not any(config.getoption(option) for option in ("--vm-only", "--vm-pattern", "--vm-shard")):
        return
    from builder.core.errors import InputError
    from vm.testing.selection import choose

    try:
        chosen = choose(
            items,
            only_machines=config.getoption("--vm-only"),
            patterns=config.getoption("--vm-pattern"),
            share=config.getoption("--vm-shard"),
        )
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    kept = {id(item) for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what would run."""
    if (text := session.config.getoption("--vm-list")) is not None:
        from vm.testing.selection import format_listing

        path = Path(text)
        path.write_text(format_listing(session.items, as_json=path.suffix == ".json"), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test with a machine that the denylist names is skipped or, after its day, fails."""
    if not MACHINE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
        return
    from vm.testing.denylist import find_denial
    from vm.testing.project import DENYLIST, read_arch, resolve_option

    path = resolve_option(item.config, "--vm-denylist", DENYLIST)
    answer = find_denial(path, item.nodeid, partial(read_arch, item.config))
    if answer is not None:
        (pytest.skip if answer.skip else partial(pytest.fail, pytrace=False))(answer.why)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells its controller what it has cost."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and sys.modules.get("vm.machine") is not None:
        from dataclasses import asdict

        from vm.machine.counts import Counts
        from vm.testing.records import COUNTS_OF_WORKER

        output[COUNTS_OF_WORKER] = asdict(Counts.measure())


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> Image:
    """The image under test."""
    from builder.core.image import read_image
    from vm.testing.project import locate_build_json

    path = locate_build_json(pytestconfig)
    if not path.exists():
        pytest.fail(
            f"no image to boot: there is no {path}; 'build-os build' makes it, or give --build-json PATH or {VARIABLE}",
            pytrace=False,
        )
    return read_image(path)


@pytest.fixture(scope="session")
def vm_store() -> Store:
    """The store that machines share: the accelerator's verdict and the boot lock lie there."""
    from builder.core.store import Store

    return Store.open()


@pytest.fixture(scope="session")
def vm_tools(image: Image, pytestconfig: pytest.Config) -> Tools:
    """The tools tree that built the image."""
    from builder.core.tools import Tools
    from vm.testing.console import TestConsole

    return Tools(image.tools, TestConsole(pytestconfig))


@pytest.fixture(scope="session")
def vm_accel(vm_tools: Tools, vm_store: Store, image: Image) -> Verdict:
    """KVM if it works here, else emulation."""
    from vm.accel.choice import choose_accel

    return choose_accel(vm_tools, vm_store, image.arch)


@pytest.fixture(scope="session")
def vm_pool(pytestconfig: pytest.Config, image: Image, vm_tools: Tools, vm_store: Store) -> Iterator[Pool]:
    """The machines that serve more than one test."""
    from vm.testing.pool import Pool
    from vm.testing.project import make_attempt_suffix

    pool = Pool(image, vm_store, vm_tools.root, anew=make_attempt_suffix(pytestconfig) != "")
    yield pool
    pool.close()


@pytest.fixture
def vm_factory(
    request: pytest.FixtureRequest, image: Image, vm_tools: Tools, vm_store: Store, vm_accel: Verdict
) -> Iterator[VmFactory]:
    """Start machines: ``vm_factory(config=Path("machine.yaml"), memory=2048, forwards=[Forward(80)])``."""
    from vm.testing.fixtures import Host, make_machines

    with make_machines(request.node, Host(image, vm_tools, vm_store, vm_accel)) as make:
        yield make


@pytest.fixture
def vm(
    request: pytest.FixtureRequest,
    image: Image,
    vm_tools: Tools,
    vm_store: Store,
    vm_accel: Verdict,
    vm_pool: Pool,
) -> Iterator[Machine]:
    """A machine that is up: booted once for all tests with the same ``vm`` marker, and put back before each of them."""
    from vm.testing.fixtures import Host, lend_machine

    with lend_machine(request.node, Host(image, vm_tools, vm_store, vm_accel), vm_pool) as machine:
        yield machine


class Cluster(Protocol):
    """Boots machines on a network of their own; see :func:`cluster`."""

    def __call__(self, *names: str, until: str = ..., **options: Any) -> list[Machine]:
        """Boot one for each name."""


@pytest.fixture
def cluster(vm_factory: VmFactory) -> Iterator[Cluster]:
    """Machines on one network, each reachable by name: ``web, db = cluster("web", "db", memory=512)``.

    They have no other network unless ``net="user"`` says so. ``until`` is the unit that must be active in each; other
    options are those of ``vm_factory``, and apply to all. The network's name server knows ``web`` and
    ``web.cluster.test``.
    """
    from vm.testing.fixtures import connect_machines

    with connect_machines(vm_factory) as make:
        yield make


@pytest.fixture
def fakes(vm_tools: Tools, tmp_path: Path) -> Iterator[Fakes]:
    """Servers for machines to talk to, on loopback: web, registry, proxy, names, time, TFTP, Tang (:mod:`vm.fakes`)."""
    from vm.fakes import Fakes

    with Fakes(vm_tools, tmp_path / "certificates") as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """On failure, say where the logs are, and how to look at it again."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends the hook's result
    folders = item.stash.setdefault(FOLDERS, [])
    if report.when == "call" and "vm.machine" in sys.modules:
        from vm.testing.fixtures import find_folders_of_fixtures

        folders += [folder for folder in find_folders_of_fixtures(item) if folder not in folders]
    if report.failed and folders:
        from vm.spec.folder import MachineFolder
        from vm.testing.project import make_rerun_command
        from vm.testing.rerun import FAILED

        item.stash[FAILED] = True
        lines = [line for folder in folders for line in MachineFolder(folder).list_logs()]
        lines.append(f"again, with a prompt in the machine: {shlex.join(make_rerun_command(item))}")
        report.sections.append(("virtual machines", "\n".join(lines)))
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Machines that run on, and the page with all results."""
    config = terminalreporter.config
    if sys.modules.get("vm.testing.teardown") is not None:
        from vm.testing.teardown import KEPT

        for line in config.stash.get(KEPT, []):
            terminalreporter.write_line(line)
    if config.getoption("--vm-results") is not None:
        from vm.testing.records import PAGE, Results

        results = config.pluginmanager.get_plugin("build-os-results")
        assert isinstance(results, Results)
        terminalreporter.write_line(results.format_summary())
        terminalreporter.write_line(
            f"results: {config.invocation_params.dir / config.getoption('--vm-results') / PAGE}"
        )
