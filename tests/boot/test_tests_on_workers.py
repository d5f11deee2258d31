"""Tests of an image on workers: real ones, with stores of their own, whose machines boot there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from builder.core.store import Store
from tests.support.farm import Farm, open_farm
from tests.support.machines import WITHOUT_CONTAINER

pytestmark = [pytest.mark.boot, pytest.mark.slow]

TESTS = {
    "test_files.py": f"""
import pytest

pytestmark = pytest.mark.vm(boot="kernel", arguments="{WITHOUT_CONTAINER}")

def test_the_system_is_read_only(vm):
    vm.fail("touch", "/usr/bin/x")


def test_state_is_not(vm):
    vm.succeed("touch", "/var/x")
""",
    "test_names.py": f"""
def test_it_has_another_name(vm_factory):
    vm = vm_factory(boot="kernel", arguments="{WITHOUT_CONTAINER}")
    assert vm.succeed("hostname") == "another"
""",
}


@pytest.fixture
def farm(tmp_path: Path, store: Store, demo: Path) -> Iterator[Farm]:
    with open_farm(tmp_path, store) as made:
        (made.project / "tests").mkdir()
        for name, text in TESTS.items():
            (made.project / "tests" / name).write_text(text)
        made.start_scheduler()
        yield made


def test_groups_of_tests_go_to_workers_and_one_report_comes_back(farm: Farm) -> None:
    farm.start_worker("w1")
    farm.start_worker("w2")
    assert farm.run("build", "configs/demo.yaml", "--offline").returncode == 0
    done = farm.run("test", "tests", "--on", farm.address, *farm.sharing)
    assert done.returncode == 5, done.stdout
    results = farm.project / "out/test-results"
    data = json.loads((results / "results.json").read_text())
    outcomes = {test["test"]: test["outcome"] for test in data["tests"]}
    assert outcomes == {
        "tests/test_files.py::test_the_system_is_read_only": "passed",
        "tests/test_files.py::test_state_is_not": "passed",
        "tests/test_names.py::test_it_has_another_name": "failed",
    }
    assert data["boots"] == 2  # one for each group: tests that share a machine are on one worker
    assert re.search(r"^failed: tests/test_names.py::test_it_has_another_name$", done.stdout, re.MULTILINE)
    (failed,) = (test for test in data["tests"] if test["outcome"] == "failed")
    folder = Path(failed["machines"][0]["folder"])
    assert folder.is_relative_to(results)
    assert "login:" in (folder / "serial.log").read_text(errors="replace")
    assert (folder / "journal.export.gz").is_file()
    assert folder.parent.name == "tests-test_names.py-test_it_has_another_name"
    cases = {case.get("name") for case in ElementTree.parse(results / "junit.xml").getroot().iter("testcase")}
    assert cases == {"test_the_system_is_read_only", "test_state_is_not", "test_it_has_another_name"}
    page = (results / "index.html").read_text()
    (link,) = {target for target in re.findall(r'href="([^"]+)"', page) if "test_names" in target}
    assert (results / link).resolve() == folder.resolve()
    assert not list((farm.directory / "cache/entries").glob("results-*"))


def test_each_cell_of_a_matrix_is_tested_by_a_worker(farm: Farm) -> None:
    farm.matrix.write_text(farm.matrix.read_text() + "tests: [tests/test_files.py]\n")
    farm.start_worker("w1")
    done = farm.run("matrix", "test", "-o", "out", "--on", farm.address, "--offline", *farm.sharing)
    assert done.returncode == 0, done.stdout
    cells = json.loads((farm.project / "out/matrix.json").read_text())["cells"]
    assert [cell["last"]["test"]["tests"] for cell in cells] == [{"passed": 2}, {"passed": 2}]
    for cell in cells:
        logs = (farm.project / "out" / cell["id"] / "tests/vm-tests").rglob("serial.log")
        assert any("login:" in log.read_text(errors="replace") for log in logs)
