"""The fixtures as a user's own tests see them: an inner pytest run, with a QEMU that is two ends of sockets."""

from __future__ import annotations

import base64
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from conftest import FakeQemu

pytestmark = pytest.mark.unit

CONFTEST = """
    import pytest
    from pathlib import Path
    from builder.core.console import QuietConsole
    from builder.core.tools import Tools
    from vm.accel.choice import Verdict
    from vm.spec import Accel

    class FakeTools(Tools):
        def run(self, *command, **_):
            Path(command[-1]).touch()
            return ""

    @pytest.fixture(scope="session")
    def vm_tools(image):
        return FakeTools(image.tools, QuietConsole())

    @pytest.fixture(scope="session")
    def vm_accel():
        return Verdict(Accel.KVM)
"""


NUMBERS = itertools.count()


class Reports:
    """Keeps the reports of an inner run."""

    def __init__(self) -> None:
        self.all: list[pytest.TestReport] = []
        self.status = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.all.append(report)

    def outcome(self) -> list[tuple[str, str]]:
        """When and how each phase that was not simply passed ended."""
        return [(report.when, report.outcome) for report in self.all if report.outcome != "passed"]

    def text(self) -> str:
        """All that was said about failures."""
        return "\n".join(str(report.longrepr) for report in self.all if report.failed)


Inner = Callable[..., Reports]


@pytest.fixture
def inner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qemu: FakeQemu) -> Inner:
    """Run a test file in a directory of its own."""
    home = tmp_path / "user"
    firmware = home / "tools" / "usr/share/OVMF"
    firmware.mkdir(parents=True)
    for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"):
        (firmware / name).touch()
    (home / "demo.qcow2").touch()
    artifact = {"path": "demo.qcow2", "size": 0, "sha256": "", "format": "qcow2"}
    build = {"schema": 1, "name": "demo", "version": "1", "arch": "amd64", "tools": str(home / "tools")}
    (home / "build.json").write_text(json.dumps({**build, "artifacts": {"qcow2": artifact}}))
    (home / "conftest.py").write_text(textwrap.dedent(CONFTEST))
    (home / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    monkeypatch.setattr("vm.machine.base.connect", qemu.connect)
    monkeypatch.setenv("BUILD_OS_BUILD_JSON", str(home / "build.json"))
    monkeypatch.setenv("BUILD_OS_CACHE", str(tmp_path / "store"))

    def run(test: str, *options: str, root: Path = home, below: str = ".") -> Reports:
        for old in home.rglob("test_*.py"):
            old.unlink()
        # A name is imported once in a process.
        path = home / below / f"test_inner{next(NUMBERS)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import pytest\n\n" + textwrap.dedent(test))
        reports = Reports()
        arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(root), str(home), "--import-mode=importlib"]
        plugin = [] if plugin_is_installed() else ["-p", "vm.pytest_plugin"]
        reports.status = int(pytest.main([*arguments, *plugin, *options], plugins=[reports]))
        return reports

    return run


def plugin_is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(entry.value == "vm.pytest_plugin" for entry in entry_points(group="pytest11"))


def test_a_test_gets_a_running_machine(inner: Inner, qemu: FakeQemu) -> None:
    qemu.on_command = lambda name: qemu.says("vm login: ") if name == "cont" else None
    reports = inner("""
        def test_login(vm_factory):
            vm_factory().wait_console("login: ")
    """)
    assert reports.outcome() == []
    assert [command["execute"] for command in qemu.commands][-1] == "quit"


def test_machines_are_made_to_measure_each_with_its_own_folder(inner: Inner, qemu: FakeQemu, tmp_path: Path) -> None:
    reports = inner("""
        def test_two(vm_factory):
            one = vm_factory(memory=512, config="variant: buildos\\n", probe=False)
            two = vm_factory(cpus=4, seconds=10)
            assert one.folder.root.parent == two.folder.root.parent
            assert one.folder.root != two.folder.root
            assert one.spec.memory == 512
            assert two.spec.cpus == 4
            assert one.spec.firstboot_config.read_text() == "variant: buildos\\n"
    """)
    assert reports.outcome() == []
    folder = tmp_path / "user" / "out" / "vm-tests"
    assert [path.name.partition(".py")[2] for path in folder.iterdir()] == ["-test_two"]


def test_a_bad_sign_fails_a_test_that_did_not_notice(inner: Inner, qemu: FakeQemu) -> None:
    qemu.on_command = lambda name: qemu.says("Kernel panic - not syncing: x\n") if name == "cont" else None
    test = """
        def test_it(vm_factory):
            vm_factory().wait_console("not syncing")
    """
    reports = inner(test)
    assert reports.outcome() == [("teardown", "failed")]
    assert "machine0: a kernel panic after" in reports.text()
    qemu.on_command = lambda name: qemu.says("Kernel panic - not syncing: x\n") if name == "cont" else None
    assert inner("@pytest.mark.allow_console('not syncing: x')" + textwrap.dedent(test)).outcome() == []


def test_a_failure_names_the_logs(inner: Inner, qemu: FakeQemu) -> None:
    qemu.on_command = lambda name: qemu.says("hello\n") if name == "cont" else None
    reports = inner("""
        def test_it(vm_factory):
            vm_factory().wait_console("hello")
            assert 1 == 2
    """)
    failed = next(report for report in reports.all if report.failed)
    sections = dict(failed.sections)
    assert "serial line: " in sections["virtual machines"]
    assert ".py-test_it/machine0/serial.log" in sections["virtual machines"]


@pytest.fixture
def journal(qemu: FakeQemu) -> list[str]:
    """A guest that is up, and answers; what its journal says is the test's to fill in."""
    lines: list[str] = []

    def run(request: dict[str, Any]) -> object:
        said = {"journalctl": "\n".join([*lines, "-- cursor: c1"]) + "\n", "systemd-analyze": "<svg/>"}
        text = said.get(request["argv"][0], "")
        return {"status": 0, "stdout": base64.b64encode(text.encode()).decode(), "stderr": ""}

    qemu.on_command = qemu.greets_when_it_boots
    qemu.answer["unit"] = lambda _: {"properties": {"ActiveState": "active", "LoadState": "loaded"}}
    qemu.answer |= {"run": run, "read": lambda _: {"data": base64.b64encode(b"journal").decode()}}
    return lines


def count(qemu: FakeQemu, name: str) -> int:
    return [command["execute"] for command in qemu.commands].count(name)


@pytest.mark.usefixtures("journal")
def test_a_machine_is_booted_once_and_put_back_for_each_test(inner: Inner, qemu: FakeQemu) -> None:
    test = """
        pytestmark = pytest.mark.vm(memory=512)

        def test_one(vm):
            assert vm.spec.memory == 512

        def test_two(vm):
            assert vm.probe.hello is not None

        @pytest.mark.vm(memory=512, isolation="shared")
        def test_three(vm):
            pass

        @pytest.mark.vm(memory=512, isolation="shared")
        def test_four(vm):
            pass
    """
    reports = inner(test)
    assert reports.outcome() == []
    assert count(qemu, "snapshot-save") == 1
    # Woken up, put back for the second and the third; the fourth takes it as the third left it.
    assert count(qemu, "snapshot-load") == 3
    assert len(qemu.specs) == 2
    inner(test)
    assert count(qemu, "snapshot-save") == 1, "another session boots nothing"
    assert len(qemu.specs) == 3


@pytest.mark.usefixtures("journal")
def test_a_golden_machine_that_does_not_wake_up_is_booted_anew(inner: Inner, qemu: FakeQemu) -> None:
    test = """
        def test_it(vm):
            pass
    """
    inner(test)
    qemu.job_errors["snapshot-load"] = "no"
    booted = []

    def boots_anew(name: str) -> None:
        if name == "snapshot-save":
            qemu.job_errors.clear()
            booted.append(name)
        if name == "cont":
            qemu.greets()

    qemu.on_command = boots_anew
    assert inner(test).outcome() == []
    assert booted == ["snapshot-save"]


def test_a_bad_sign_in_the_journal_fails_the_test_that_caused_it(
    inner: Inner, qemu: FakeQemu, journal: list[str]
) -> None:
    journal.append("Traceback (most recent call last):")
    test = """
        def test_it(vm):
            pass
    """
    reports = inner(test)
    assert reports.outcome() == [("teardown", "failed")]
    assert "a Python traceback after" in reports.text()
    assert inner("@pytest.mark.allow_console('Traceback')" + textwrap.dedent(test)).outcome() == []


def test_an_unknown_isolation_is_refused(inner: Inner) -> None:
    reports = inner("""
        @pytest.mark.vm(isolation="none")
        def test_it(vm):
            pass
    """)
    assert reports.outcome() == [("setup", "failed")]
    assert "'snapshot' or 'shared', not 'none'" in reports.text()


def test_without_an_image_the_fixture_says_what_to_give(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUILD_OS_BUILD_JSON")
    reports = inner("""
        def test_it(vm):
            pass
    """)
    assert reports.outcome() == [("setup", "failed")]
    assert "give --build-json PATH or BUILD_OS_BUILD_JSON" in reports.text()


def test_an_image_may_be_named_on_the_command_line(
    inner: Inner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BUILD_OS_BUILD_JSON")
    test = """
        def test_it(image):
            assert image.name == "demo"
    """
    assert inner(test, "--build-json", str(tmp_path / "user")).outcome() == []


def guest_answers(qemu: FakeQemu, status: int, output: str) -> None:
    """A guest in which a script ends so."""

    def run(request: dict[str, Any]) -> dict[str, Any]:
        argv = request["argv"]
        code = {"systemd-run": status, "cat": 1}.get(argv[0], 0)
        said = output if argv[0] == "systemd-run" else ""
        return {"status": code, "stdout": base64.b64encode(said.encode()).decode(), "stderr": ""}

    unit = {"properties": {"ActiveState": "active", "LoadState": "loaded"}}
    qemu.answer |= {"run": run, "write": lambda _: {}, "unit": lambda _: unit}
    qemu.on_command = qemu.greets_when_it_boots


@pytest.mark.parametrize(
    ("status", "outcome", "says"),
    [(0, [], ""), (77, [("call", "skipped")], ""), (3, [("call", "failed")], "works ended with status 3: it broke")],
)
def test_a_program_in_a_directory_guest_is_a_test(
    inner: Inner, qemu: FakeQemu, tmp_path: Path, status: int, outcome: list[tuple[str, str]], says: str
) -> None:
    guest_answers(qemu, status, "it broke\n")
    path = tmp_path / "user" / "guest" / "works"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n## build-os:\n##   isolation: own\n##   memory: 512\n##   tags: [web]\n")
    path.chmod(0o755)
    reports = inner("", "-m", "web")
    assert [report.nodeid for report in reports.all if report.when == "setup"] == ["guest/works::works"]
    assert reports.outcome() == outcome
    assert says in reports.text()
    assert qemu.specs[0].memory == 512


def test_a_script_whose_header_makes_no_sense_is_an_error_that_names_it(
    inner: Inner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "user" / "guest" / "works"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n## build-os:\n##   memry: 512\n")
    path.chmod(0o755)
    inner("")
    assert "guest/works: its header is wrong: memry: Extra inputs are not permitted" in capsys.readouterr().out


@pytest.mark.usefixtures("journal")
def test_a_machine_that_was_woken_up_and_reboots_is_waited_for(inner: Inner, qemu: FakeQemu) -> None:
    def reboot(request: dict[str, Any]) -> dict[str, Any]:
        qemu.happens("RESET")
        qemu.greets()
        return {}

    qemu.answer["reboot"] = reboot
    reports = inner("""
        def test_it(vm):
            before = vm.probe.hello.boot_id
            vm.reboot()
            assert vm.probe.hello.boot_id != before
    """)
    assert reports.outcome() == []


@pytest.mark.usefixtures("journal")
def test_a_failure_leaves_what_tells_of_it_and_the_next_test_of_that_machine_does_not(
    inner: Inner, tmp_path: Path
) -> None:
    inner("""
        def test_one(vm):
            assert 1 == 2
    """)
    charts = sorted(tmp_path.rglob("boot.svg"))
    kept, shared = sorted(charts, key=lambda path: "test_one" not in str(path))
    for chart in charts:
        assert chart.read_text() == "<svg/>"
        assert chart.with_name("journal.export.gz").read_bytes() == b"journal"
    inner("def test_two(vm): pass")
    assert kept.exists()
    assert not shared.exists()


@pytest.mark.usefixtures("journal")
def test_results_are_written_for_people_and_for_programs(inner: Inner, tmp_path: Path) -> None:
    inner(
        """
        def test_good(vm):
            vm.wait_unit("nginx.service")
        def test_bad(vm_factory):
            vm_factory().wait_probe()
            assert "<&>" == ""
        def test_other():
            pytest.skip("not today")
        """,
        "--vm-results",
        str(tmp_path / "results"),
    )
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["outcomes"] == {"failed": 1, "passed": 1, "skipped": 1}
    good, bad, other = results["tests"]
    assert good["machines"][0]["timeline"][-1]["what"] == "nginx.service active"
    assert bad["machines"][0]["boots"] == 1
    assert (results["boots"], results["restores"]) == (2, 1), "one of the boots is of the machine that was kept"
    assert (other["machines"], other["message"]) == ([], "Skipped: not today")
    html = (tmp_path / "results" / "index.html").read_text()
    assert "nginx.service active" in html
    assert "&lt;&amp;&gt;" in html
    assert "<&>" not in html
    assert 'name="test_good"' in (tmp_path / "results" / "junit.xml").read_text()


FLAKY = """
    @pytest.fixture(scope="session")
    def shared(tmp_path_factory):
        yield tmp_path_factory.mktemp("shared")

    def test_flaky(vm, shared):
        (shared / "touched").touch()
        vm.wait_unit("nginx.service")
        assert "-attempt2" in vm.folder.root.name, "the first time"
    def test_bad(vm_factory, shared):
        vm_factory(probe=False)
        assert not list(shared.iterdir()), "somebody was here"
        assert 1 == 2
    def test_good(vm):
        pass
    def test_without_a_machine():
        assert 1 == 2
"""


@pytest.mark.usefixtures("journal")
def test_a_test_that_fails_once_is_run_again_on_a_new_machine_and_told_as_flaky(
    inner: Inner, qemu: FakeQemu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = inner(FLAKY, "--vm-rerun", "1", "--vm-results", str(tmp_path / "results"))
    assert [(each.nodeid.rpartition("::")[2], each.outcome) for each in reports.all if each.longrepr] == [
        ("test_flaky", "rerun"),
        ("test_bad", "rerun"),
        ("test_without_a_machine", "failed"),
        ("test_bad", "failed"),
    ]
    assert "assert 1 == 2" in reports.text()
    assert [command["execute"] for command in qemu.commands].count("snapshot-load") == 2, "not for the second attempt"
    said = capsys.readouterr().out
    assert "2 failed, 1 passed, 1 flaky" in said
    [line] = [line for line in said.splitlines() if "test_flaky: AssertionError: the first time" in line]
    first, second = [Path(word.strip("[],")) for word in line.split() if word.startswith("[")]
    assert (first.parent.name.rpartition("-")[2], second.name.partition("-")[2]) == ("test_flaky", "attempt2-boot")
    assert (first / "serial.log").exists()
    assert second.is_dir()
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["outcomes"] == {"failed": 2, "flaky": 1, "passed": 1}
    flaky = next(test for test in results["tests"] if test["outcome"] == "flaky")
    assert "the first time" in flaky["message"]
    assert 'in vm.folder.root.name, "the first time"' in flaky["earlier"]
    assert [Path(machine["folder"]) for machine in flaky["machines"]] == [
        second.with_name(second.name.partition("-")[0]),
        second,
    ]
    assert '<span class="flaky">flaky</span>' in (tmp_path / "results" / "index.html").read_text()
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "results" / "junit.xml").iter("testcase")}
    assert sorted(cases) == ["test_bad", "test_flaky", "test_good", "test_without_a_machine"]
    assert cases["test_flaky"].find("failure") is None
    properties = {each.get("name"): each.get("value") for each in cases["test_flaky"].iter("property")}
    assert "the first time" in str(properties["flaky"])


@pytest.mark.usefixtures("qemu")
def test_a_run_with_only_flaky_tests_is_green(inner: Inner) -> None:
    test = """
        def test_it(vm_factory):
            assert "-attempt2" in vm_factory(probe=False).folder.root.parent.name
    """
    assert inner(test, "--vm-rerun", "1").status == 0
    assert inner(test).status == 1


def test_a_bad_sign_of_the_first_attempt_is_forgiven_like_any_failure(inner: Inner, qemu: FakeQemu) -> None:
    said = iter(["Kernel panic - not syncing: x\n", "login: \n"])
    qemu.on_command = lambda name: qemu.says(next(said)) if name == "cont" else None
    reports = inner("def test_it(vm_factory): vm_factory(probe=False).wait_console('syncing|login')", "--vm-rerun", "1")
    assert (reports.status, reports.text()) == (0, "")


@pytest.mark.usefixtures("qemu")
def test_a_run_that_is_interrupted_tells_of_the_failure_that_it_had_kept(inner: Inner) -> None:
    reports = inner(
        """
        def test_bad(vm_factory):
            assert 1 == 2
        def test_interrupted():
            raise KeyboardInterrupt
        """,
        "--vm-rerun",
        "1",
    )
    assert reports.status == 2
    assert "assert 1 == 2" in reports.text()


@pytest.mark.usefixtures("qemu")
def test_when_much_fails_nothing_is_run_again(inner: Inner) -> None:
    reports = inner(
        """
        @pytest.mark.parametrize("number", range(21))
        def test_bad(vm_factory, number):
            assert "-attempt2" in str(vm_factory(probe=False).folder.root)
        """,
        "--vm-rerun",
        "1",
    )
    assert reports.status == 1
    assert len([report for report in reports.all if report.outcome == "failed"]) == 21


def test_tests_with_certain_markers_are_run_again_too(inner: Inner, tmp_path: Path) -> None:
    with (tmp_path / "user" / "pytest.ini").open("a") as file:
        file.write("markers =\n    image: x\nvm_rerun_markers = image\n")
    reports = inner(
        """
        tries = []

        @pytest.mark.image
        def test_it():
            tries.append(1)
            assert len(tries) == 2
        """,
        "--vm-rerun",
        "1",
    )
    assert reports.status == 0


DENIED = "- {pattern: 'test_denied*', reason: 'bug 1', expires: %s}\n"


@pytest.mark.parametrize(("day", "outcome"), [("2999-01-01", "skipped"), ("2020-01-01", "failed")])
def test_what_is_denied_is_skipped_until_its_day(
    inner: Inner, qemu: FakeQemu, tmp_path: Path, day: str, outcome: str
) -> None:
    (tmp_path / "user" / "tests").mkdir()
    (tmp_path / "user" / "tests" / "denylist.yaml").write_text(DENIED % day)
    reports = inner("""
        def test_denied_one(vm_factory):
            vm_factory()
        def test_denied_but_without_a_machine():
            pass
    """)
    assert reports.outcome() == [("setup", outcome)]
    assert "bug 1" in str(next(report for report in reports.all if report.outcome == outcome).longrepr)
    assert qemu.specs == []


def test_a_test_with_a_machine_is_run_as_often_as_one_wishes(inner: Inner, qemu: FakeQemu) -> None:
    reports = inner(
        """
        def test_it(vm_factory):
            vm_factory(probe=False)
        def test_other():
            pass
        """,
        "--vm-multiply",
        "3",
    )
    assert len([report for report in reports.all if report.when == "call"]) == 4
    assert len(qemu.specs) == 3


SUITE = """
    def test_alone(vm_factory): pass
    @pytest.mark.vm(memory=512)
    class TestSmall:
        def test_one(self, vm): pass
        def test_two(self, vm): pass
    def test_without(): pass
"""


def collected(inner: Inner, capsys: pytest.CaptureFixture[str], *options: str) -> set[str]:
    capsys.readouterr()
    inner(SUITE, "--collect-only", *options)
    lines = capsys.readouterr().out.splitlines()
    return {line.rpartition("::")[2] for line in lines if "::" in line}


def test_every_test_is_in_one_share_and_those_of_a_machine_are_in_the_same(
    inner: Inner, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = [collected(inner, capsys, "--vm-shard", f"{number}/2") for number in (1, 2)]
    assert shares[0] | shares[1] == {"test_alone", "test_one", "test_two", "test_without"}
    assert shares[0] & shares[1] == set()
    assert {"test_one", "test_two"} in shares


def test_tests_are_chosen_by_name_and_by_what_they_need(inner: Inner, capsys: pytest.CaptureFixture[str]) -> None:
    assert collected(inner, capsys, "--vm-only") == {"test_alone", "test_one", "test_two"}
    assert collected(inner, capsys, "--vm-pattern", "test_*o") == {"test_two"}
    assert collected(inner, capsys, "--vm-pattern", "Small") == {"test_one", "test_two"}


@pytest.mark.parametrize("share", ["3/2", "0/1", "one"])
def test_a_share_that_is_none_is_refused(inner: Inner, capfd: pytest.CaptureFixture[str], share: str) -> None:
    inner(SUITE, "--vm-shard", share)
    assert f"'{share}' is no share of a suite" in capfd.readouterr().err


def test_a_failure_shows_the_tests_own_line_and_nothing_of_ours(inner: Inner, qemu: FakeQemu) -> None:
    qemu.on_command = qemu.greets_when_it_boots
    qemu.answer["run"] = lambda _: {"status": 1, "stdout": "", "stderr": ""}
    said = inner("""
        def test_it(vm_factory):
            vm_factory().succeed("false")
    """).text()
    assert "false failed in the guest with status 1" in said
    assert 'vm_factory().succeed("false")' in said
    assert not [line for line in said.splitlines() if "vm/machine/" in line or "vm/guest/probe_client.py" in line]


def test_a_bug_of_ours_keeps_its_traceback(inner: Inner, qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu.on_command = qemu.greets_when_it_boots
    monkeypatch.setattr("vm.guest.probe_client.split_words", lambda _: 1 / 0)
    said = inner("""
        def test_it(vm_factory):
            vm_factory().succeed("false")
    """).text()
    assert "probe_client.py" in said


def test_a_config_that_the_image_would_refuse_fails_the_test_before_a_boot(
    inner: Inner, qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu.on_command = qemu.greets_when_it_boots
    asked: list[tuple[str, str]] = []

    def refusal(config_file: Path, build_json: Path) -> str:
        asked.append((config_file.read_text(), build_json.name))
        return "config0:3:1: there is no group 'docker'"

    monkeypatch.setattr("builder.provisioning.pytest_plugin.pytest_build_os_refusal", refusal)
    test = """
        def test_it(vm_factory):
            vm_factory(config="text"CHECK)

        @pytest.mark.vm(config="other"CHECK)
        def test_other(vm):
            pass
    """
    reports = inner(test.replace("CHECK", ""))
    assert reports.outcome() == [("call", "failed"), ("setup", "failed")]
    assert "there is no group 'docker'" in reports.text()
    assert "pytest_plugin.py" not in reports.text()
    assert asked == [("text", "build.json"), ("other", "build.json")]
    assert qemu.specs == []
    inner(test.replace("CHECK", ", check=False").partition("@")[0])
    assert len(qemu.specs) == 1


def test_logs_and_the_command_to_run_again_are_right_from_a_directory_below(
    inner: Inner, qemu: FakeQemu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu.on_command = qemu.greets_when_it_boots
    home = tmp_path / "user"
    (home / "os.yaml").touch()
    (home / "tests").mkdir()
    monkeypatch.chdir(home / "tests")
    test = """
        def test_it(vm_factory):
            vm_factory()
            assert 1 == 2
    """
    reports = inner(test, "--vm-results", "mine", root=home / "tests", below="tests")
    failed = next(report for report in reports.all if report.failed)
    said = dict(failed.sections)["virtual machines"]
    (name,) = (path.name for path in (home / "tests").glob("test_inner*.py"))
    assert f"build-os test {name}::test_it --shell-on-failure" in said
    assert (home / "out" / "vm-tests" / f"tests-{name}-test_it").is_dir()
    assert not (home / "tests" / "out").exists()
    assert (home / "tests" / "mine" / "results.json").is_file()
    monkeypatch.chdir(home)
    build = str(home / "build.json")
    reports = inner(test, "--build-json", build, root=home / "tests", below="tests")
    said = dict(next(report for report in reports.all if report.failed).sections)["virtual machines"]
    (name,) = (path.name for path in (home / "tests").glob("test_inner*.py"))
    assert f"build-os test tests/{name}::test_it --image {build} --shell-on-failure" in said


def test_a_test_that_waits_for_another_machine_says_for_whom_at_once(
    pytestconfig: pytest.Config, capfd: pytest.CaptureFixture[str]
) -> None:
    from vm.testing.console import TestConsole

    class Capture:
        def __init__(self) -> None:
            self.off = 0

        @contextmanager
        def global_and_fixture_disabled(self) -> Iterator[None]:
            self.off += 1
            yield

    console = TestConsole(pytestconfig)
    console._capture = capture = Capture()
    console.note("waiting for process 7, which is booting")
    assert capture.off == 1
    assert capfd.readouterr().err == "\nbuild-os: waiting for process 7, which is booting\n"
