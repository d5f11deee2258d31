"""Builds that share a store, an output directory, or a moment with whoever clears the store."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.image.faults.conftest import Project, ended, wait_until_said

pytestmark = pytest.mark.image


@pytest.mark.parametrize("count", [2, 8])
def test_builds_on_one_store_fetch_each_deb_once(project: Project, count: int, tmp_path: Path) -> None:
    assert project.run("lock", project.definition).status == 0
    for deb in project.debs.values():  # slow enough that they meet
        project.mirror.rules[deb.path] = lambda handler, data=deb.data: (time.sleep(0.1), handler.send_file(data))
    outs = [tmp_path / f"out{number}" for number in range(count)]
    processes = [project.start(out=out) for out in outs]
    endings = [ended(process, 120) for process in processes]
    assert [ending.status for ending in endings] == [0] * count, endings
    assert len({project.artifact(out) for out in outs}) == 1
    assert set(Counter(project.fetched()).values()) == {1}
    assert project.leftovers() == []


def test_a_second_build_into_one_directory_waits_and_says_for_whom(project: Project) -> None:
    first = project.start_held("container web")
    second = project.start()
    wait_until_said(second, f"waiting for process {first.pid}, which is building into {project.out}")
    assert ended(first).status == 0
    ending = ended(second)
    assert ending.status == 0, ending.said
    assert "nothing to do" in ending.said


@pytest.mark.parametrize("step", ["fetch packages", "unpack tools", "container web"])
def test_clearing_the_store_waits_for_the_builds_that_use_it(project: Project, step: str) -> None:
    assert project.run("lock", project.definition).status == 0
    build = project.start_held(step)
    clear = project.start("cache", "clear", "--all")
    wait_until_said(clear, f"waiting for process {build.pid}")
    ending = ended(build)
    assert ending.status == 0, ending.said
    ending = ended(clear)
    assert ending.status == 0, ending.said
    again = project.run()
    assert again.status == 0, again.said


@pytest.mark.parametrize("command", ["lock", "lock diff", "store export"])
def test_clearing_the_store_waits_for_other_commands_that_use_it(project: Project, command: str) -> None:
    assert project.run("lock", project.definition).status == 0
    words, step = {
        "lock": (("lock", project.definition), "resolve packages"),
        "lock diff": (("lock", "diff", "--definition", project.definition), "resolve packages"),
        "store export": (("store", "export", "debs.tar", project.definition), "write debs.tar"),
    }[command]
    user = project.start_held(step, *words)
    clear = project.start("cache", "clear", "--all")
    wait_until_said(clear, f"waiting for process {user.pid}")
    ending = ended(user)
    assert ending.status == 0, ending.said
    assert ended(clear).status == 0
