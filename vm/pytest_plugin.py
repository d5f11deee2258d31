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

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from vm.testing import GUEST_DIRECTORY, MACHINE_FIXTURES

if TYPE_CHECKING:
    from builder.core.image import Image
    from builder.core.store import Store
    from builder.core.tools import Tools
    from vm.accel.choice import Verdict
    from vm.fakes import Fakes
    from vm.machine import Machine
    from vm.network.segment import Nic, Segment
    from vm.testing.pool import Pool
    from vm.waiting.deadline import Deadline

pytest_plugins = ["builder.provisioning.pytest_plugin"]
VARIABLE = "BUILD_OS_BUILD_JSON"
DEFAULT_SECONDS = 60.0
FOLDER, DENYLIST = "out/vm-tests", "tests/denylist.yaml"  # of the project
FOLDERS = pytest.StashKey[list[Path]]()


class VmFactory(Protocol):
    """Makes running machines for one test; they are put away when it ends.

    ``seconds`` is the machine's deadline on a host with KVM, ``check`` whether the config is compared with the image
    before it boots. Other options: :func:`vm.spec.plan.plan_machine`.
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

        config.pluginmanager.register(Rerun(times, FOLDERS), "build-os-rerun")


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
    from builder.core.errors import ConfigError
    from vm.testing.selection import choose

    try:
        chosen = choose(
            items,
            only_machines=config.getoption("--vm-only"),
            patterns=config.getoption("--vm-pattern"),
            share=config.getoption("--vm-shard"),
        )
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    kept = {id(item) for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = chosen


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what would run."""
    if (text := session.config.getoption("--vm-list")) is not None:
        from vm.testing.selection import listing

        path = Path(text)
        path.write_text(listing(session.items, as_json=path.suffix == ".json"), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test with a machine that the denylist names is skipped or, after its day, fails."""
    if not MACHINE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
        return
    from vm.testing.denylist import judge

    path = placed(item.config, "--vm-denylist", DENYLIST)
    answer = judge(path, item.nodeid, partial(arch_of, item.config))
    if answer is not None:
        (pytest.skip if answer.skip else partial(pytest.fail, pytrace=False))(answer.why)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells its controller what it has cost."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and sys.modules.get("vm.machine") is not None:
        from dataclasses import asdict

        from vm.machine.counts import Tally
        from vm.testing.records import TALLY_OF_WORKER

        output[TALLY_OF_WORKER] = asdict(Tally.now())


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> Image:
    """The image under test."""
    from builder.core.image import read_image

    path = build_json(pytestconfig)
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
    from vm.testing.told import TestConsole

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

    pool = Pool(image, vm_store, vm_tools.root, anew=attempt_suffix(pytestconfig) != "")
    yield pool
    pool.close()


@pytest.fixture
def vm_factory(
    request: pytest.FixtureRequest, image: Image, vm_tools: Tools, vm_store: Store, vm_accel: Verdict
) -> Iterator[VmFactory]:
    """Start machines: ``vm_factory(config=Path("machine.yaml"), memory=2048, forwards=[Forward(80)])``."""
    from vm.machine import Machine
    from vm.spec.folder import MachineFolder
    from vm.spec.plan import plan_machine
    from vm.testing.afterwards import keep_if_asked, look_through

    allow = allowed_patterns(request.node)
    home = folder_of(request.node)
    outlive = request.config.getoption("--vm-keep")
    machines: list[Machine] = []

    with ExitStack() as stack:

        def make(
            *,
            seconds: float = DEFAULT_SECONDS,
            config: Path | str | None = None,
            check: bool = True,
            probe: bool = True,
            cables: Sequence[tuple[Segment, Nic]] = (),
            **options: Any,
        ) -> Machine:
            folder = home / f"machine{len(machines)}"
            path = config_file(config, home / f"config{len(machines)}")
            refuse(request.config, path if check else None)
            spec = plan_machine(image, MachineFolder(folder), vm_accel.accel, config=path, **options)
            deadline = deadline_of(seconds, vm_accel)
            machine = Machine(
                spec,
                vm_tools,
                deadline,
                folder=folder,
                store=vm_store,
                probe=probe,
                allow=allow,
                outlive=outlive,
                cables=cables,
            )
            request.node.stash.setdefault(FOLDERS, []).append(folder)
            machines.append(machine)
            return stack.enter_context(machine)

        yield make
        for machine in machines:
            look_through(request.node, machine)
            keep_if_asked(request.node, machine, vm_store, vm_tools, lambda: None)
    complain(machines)


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
    from vm.machine import Machine
    from vm.spec.folder import MachineFolder
    from vm.spec.plan import plan_machine
    from vm.testing.afterwards import has_failed, keep_if_asked, look_through
    from vm.testing.pool import Wish
    from vm.testing.rerun import session_suffix

    mark = request.node.get_closest_marker("vm")
    options: dict[str, Any] = dict(mark.kwargs) if mark is not None else {}
    until, isolation = options.pop("until", "multi-user.target"), options.pop("isolation", "snapshot")
    seconds, check = options.pop("seconds", DEFAULT_SECONDS), options.pop("check", True)
    if isolation not in ("snapshot", "shared"):
        pytest.fail(f"a vm's isolation is 'snapshot' or 'shared', not {isolation!r}", pytrace=False)
    home = folder_of(request.node)
    machines = placed(request.config, "--vm-folder", FOLDER) / "machines"
    config = config_file(options.pop("config", None), home / "config")
    refuse(request.config, config if check else None)
    name = mark_name(config, options) + session_suffix(request.config)
    outlive = request.config.getoption("--vm-keep")
    allow = allowed_patterns(request.node)

    def make(asleep: Path | None) -> Machine:
        folder = machines / (name if asleep else f"{name}-boot")
        spec = plan_machine(image, MachineFolder(folder), vm_accel.accel, config=config, **options)
        deadline = deadline_of(seconds, vm_accel)
        request.node.stash.setdefault(FOLDERS, []).append(folder)
        return Machine(
            spec, vm_tools, deadline, folder=folder, store=vm_store, allow=allow, asleep=asleep, outlive=outlive
        )

    spec = plan_machine(image, MachineFolder(home), vm_accel.accel, config=config, **options)
    machine = vm_pool.take(Wish(spec, until, make), isolation)
    machine.deadline = deadline_of(seconds, vm_accel)
    machine.start_over(allow)
    cpu_before = machine.cpu_seconds()
    request.node.stash[FOLDERS] = [machine.folder.root]
    yield machine
    look_through(request.node, machine, cpu_before)
    if has_failed(request.node, machine):  # the next test that gets this machine goes on with its logs
        request.node.stash[FOLDERS] = [machine.folder.copy_logs(home / "machine").root]
    keep_if_asked(request.node, machine, vm_store, vm_tools, lambda: vm_pool.let_go(machine))
    vm_pool.rest()
    complain([machine])


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
    from vm.network.segment import Segment

    with Segment() as segment:

        def make(*names: str, until: str = "multi-user.target", **options: Any) -> list[Machine]:
            machines = []
            for name in names:
                wanted: dict[str, Any] = {"name": name, "net": "none", **options}
                machine = vm_factory(cables=[(segment, segment.nic(name))], **wanted)
                machines.append(machine)
                if options.get("config") is not None:
                    machine.wait_firstboot()
                machine.wait_unit(until)
            return machines

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
    if report.when == "call":
        folders += [folder for folder in folders_of_fixtures(item) if folder not in folders]
    if report.failed and folders:
        from vm.spec.folder import MachineFolder
        from vm.testing.rerun import FAILED

        item.stash[FAILED] = True
        lines = [line for folder in folders for line in MachineFolder(folder).pointers()]
        lines.append(f"again, with a prompt in the machine: {shlex.join(again(item))}")
        report.sections.append(("virtual machines", "\n".join(lines)))
    return report  # type: ignore[return-value]


def folders_of_fixtures(item: pytest.Item) -> list[Path]:
    """Those of machines that fixtures of the project itself have given to a test."""
    if sys.modules.get("vm.machine") is None:
        return []
    from vm.machine import Machine

    values = (getattr(item, "funcargs", None) or {}).values()
    return [value.folder.root for value in values if isinstance(value, Machine)]


def build_json(config: pytest.Config) -> Path:
    """Where the image under test is described."""
    from vm.testing.project import BUILD

    return Path(config.getoption("--build-json") or os.environ.get(VARIABLE) or home_of(config) / BUILD)


def home_of(config: pytest.Config) -> Path:
    """The project that the tests belong to, from whichever of its directories they are started."""
    from vm.testing.project import project_of

    return project_of(config.rootpath)


def placed(config: pytest.Config, option: str, default: str) -> Path:
    """A path that an option names, as a shell means it, or where it is in every project."""
    text = config.getoption(option)
    return home_of(config) / default if text is None else config.invocation_params.dir / text


def again(item: pytest.Item) -> list[str]:
    """The command that runs one test again, where this one was typed."""
    from vm.testing.project import test_id

    here = item.config.invocation_params.dir
    chosen = item.config.getoption("--build-json")
    image = [] if chosen is None else ["--image", str(chosen)]
    return ["build-os", "test", test_id(item.path, item.nodeid, here), *image, "--shell-on-failure"]


def refuse(config: pytest.Config, path: Path | None) -> None:
    """Fail the test at once if the image under test would refuse its config, instead of booting into that."""
    if path is not None and (
        why := config.hook.pytest_build_os_refusal(config_file=path, build_json=build_json(config))
    ):
        pytest.fail(f"{why}\n  = a test of just this says check=False", pytrace=False)


def arch_of(config: pytest.Config) -> str:
    """The architecture of the image under test."""
    from builder.core.image import read_image

    return read_image(build_json(config)).arch


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Machines that run on, and the page with all results."""
    config = terminalreporter.config
    if sys.modules.get("vm.testing.afterwards") is not None:
        from vm.testing.afterwards import KEPT

        for line in config.stash.get(KEPT, []):
            terminalreporter.write_line(line)
    if config.getoption("--vm-results") is not None:
        from vm.testing.records import PAGE, Results

        results = config.pluginmanager.get_plugin("build-os-results")
        assert isinstance(results, Results)
        terminalreporter.write_line(results.line())
        terminalreporter.write_line(
            f"results: {config.invocation_params.dir / config.getoption('--vm-results') / PAGE}"
        )


def allowed_patterns(item: pytest.Item) -> list[re.Pattern[str]]:
    """What ``allow_console`` markers on the test, its class and its module allow."""
    return [re.compile(pattern) for mark in item.iter_markers("allow_console") for pattern in mark.args]


def folder_of(item: pytest.Item) -> Path:
    """A test's own folder, named so that it can be found."""
    from vm.testing.project import test_id

    config = item.config
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", test_id(item.path, item.nodeid, home_of(config))).strip("-")[-120:]
    return placed(config, "--vm-folder", FOLDER) / (name + attempt_suffix(config))


def attempt_suffix(config: pytest.Config) -> str:
    """For folders' names: empty, unless tests that have failed are run again (:mod:`vm.testing.rerun`)."""
    if not config.getoption("--vm-rerun"):
        return ""
    from vm.testing.rerun import suffix

    return suffix(config)


def config_file(config: Path | str | None, target: Path) -> Path | None:
    """A first-boot configuration as a file; text is written to ``target``."""
    if not isinstance(config, str):
        return config
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(config, encoding="utf-8")
    return target


def mark_name(config: Path | None, options: dict[str, Any]) -> str:
    """A short name for the folder of the machine that tests with the same marker share."""
    content = b"" if config is None else config.read_bytes()
    return hashlib.sha256(content + repr(sorted(options.items())).encode()).hexdigest()[:12]


def deadline_of(seconds: float, verdict: Verdict) -> Deadline:
    """A deadline that begins now, stretched as this host needs it."""
    from vm.waiting.deadline import Deadline, timeout_scale

    return Deadline(seconds, timeout_scale(verdict.accel, os.environ))


def complain(machines: Sequence[Machine]) -> None:
    """Fail the test if a machine has shown bad signs."""
    complaints = [
        f"{machine.folder.root.name}: {sighting.sign.name} after {sighting.line.seconds:.1f} s: {sighting.line.text}"
        for machine in machines
        for sighting in machine.sightings
    ]
    if complaints:
        pytest.fail("bad signs on the console or in the journal:\n  " + "\n  ".join(complaints), pytrace=False)
