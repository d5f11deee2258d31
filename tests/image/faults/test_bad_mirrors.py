"""What a mirror does wrong reaches the user as one sentence and exit code 6, and never as an image."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest

from builder.locking import require_host_arch
from tests.image.faults.conftest import Project
from tests.support.debs import make_deb
from tests.support.mirror import Handler, serving

pytestmark = pytest.mark.image

LISTS = f"dists/trixie/main/binary-{require_host_arch()}/"
Rule = Callable[[Project], object]


def answer_for_one(rule: Callable[[Handler, bytes], object]) -> Rule:
    """The mirror does this when it is asked for the deb of ``one``."""

    def change(project: Project) -> None:
        deb = project.debs["one"]
        project.mirror.rules[deb.path] = lambda handler: rule(handler, deb.data)  # type: ignore[assignment]

    return change


def changed_list(change: Callable[[bytes], bytes]) -> Rule:
    """Its list of packages is another one than the signed one."""

    def apply(project: Project) -> None:
        for path, data in project.mirror.files.items():
            if path.startswith(LISTS):
                project.mirror.files[path] = change(data)

    return apply


def silent_for_one(project: Project) -> None:
    project.patience = 1
    answer_for_one(lambda handler, data: time.sleep(10))(project)


def lose_lists(project: Project) -> None:
    for path in [path for path in project.mirror.files if path.startswith(LISTS)]:
        del project.mirror.files[path]


def unsign(project: Project) -> None:
    signed = project.mirror.files["dists/trixie/InRelease"]
    project.mirror.files["dists/trixie/InRelease"] = signed.partition(b"\n\n")[2].partition(b"\n-----BEGIN")[0]


def downgrade(project: Project) -> None:
    assert project.run("lock", project.definition).status == 0
    project.definition.write_text(project.definition.read_text().replace("[one, ", "["))
    project.publish(date=datetime.now(UTC) - timedelta(days=3))


def ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


BAD: dict[str, tuple[Rule, str]] = {
    "another hash": (answer_for_one(lambda h, data: h.answer(200, data[:-1] + b"x")), "has sha256"),
    "404": (
        answer_for_one(lambda h, data: h.answer(404)),
        "no mirror has it any more: 'build-os lock --update PACKAGE'",
    ),
    "cut, with the right length": (answer_for_one(lambda h, data: h.cut(data, 5000)), "the connection was cut"),
    "silence": (silent_for_one, "the server went silent"),
    "redirect to a file": (
        answer_for_one(lambda h, data: h.answer(302, headers={"Location": "file:///etc/passwd"})),
        "which is not http or https",
    ),
    "redirect in a circle": (
        answer_for_one(lambda h, data: h.answer(302, headers={"Location": h.path})),
        "redirects",
    ),
    "redirect to another host with other bytes": (
        answer_for_one(
            lambda h, data: h.answer(302, headers={"Location": f"http://localhost:{h.server.server_port}/x"})
        ),
        "404",
    ),
    "more than was promised": (answer_for_one(lambda h, data: h.answer(200, data * 2)), "were expected"),
    "an expired index": (lambda p: p.publish(date=ago(9), valid_until=ago(2)), "expired on"),
    "an index of the future": (lambda p: p.publish(date=ago(-9)), "in the future"),
    "a stranger's signature": (lambda p: p.publish(signer=pysequoia.Tsk.generate("Mallory <m@x.y>")), "trusted key"),
    "no signature": (unsign, "not signed"),
    "an older index than the lock's": (downgrade, "older than the one locked before"),
    "a list that is not the signed one": (changed_list(lambda data: data[:-1] + b"x"), "has sha256"),
    "no list": (lose_lists, "cannot download the list of packages of trixie"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_mirror_ends_the_build_with_the_reason(project: Project, fault: str) -> None:
    spoil, says = BAD[fault]
    spoil(project)
    command = () if project.lock.exists() is False else ("lock", project.definition)
    ending = project.run(*command)
    assert ending.status == 6, ending.said
    assert says in ending.said
    assert "Traceback" not in ending.said
    assert not (project.out / "build.json").exists()


def test_a_second_mirror_takes_over(project: Project) -> None:
    for deb in project.debs.values():
        project.mirror.rules[deb.path] = lambda handler: handler.answer(503)
    with serving(dict(project.mirror.files)) as second:
        project.environment["BUILD_OS_MIRROR"] = f"{project.mirror.url} {second.url} security={project.mirror.url}"
        ending = project.run()
    assert ending.status == 0, ending.said


def test_an_index_that_changes_between_its_signature_and_its_list_is_read_again(project: Project) -> None:
    outdated = [project.mirror.files["dists/trixie/InRelease"]]
    lose_lists(project)
    project.debs = {**project.debs, "five": make_deb("five")}
    project.publish()

    def once_the_old(handler: Handler) -> None:
        handler.send_file(outdated.pop() if outdated else project.mirror.files["dists/trixie/InRelease"])

    project.mirror.rules["dists/trixie/InRelease"] = once_the_old
    ending = project.run()
    assert ending.status == 0, ending.said
    assert not outdated


def test_a_container_is_built_from_a_carried_store_when_there_is_no_mirror_any_more(
    project: Project, tmp_path: Path
) -> None:
    assert project.run().status == 0
    expected, archive = project.artifact(), tmp_path / "debs.tar"
    ending = project.run("store", "export", archive, project.definition)
    assert ending.status == 0, ending.said
    project.store = tmp_path / "another"
    ending = project.run("store", "import", archive)
    assert (ending.status, "all verified" in ending.said) == (0, True), ending.said
    project.environment["BUILD_OS_MIRROR"] = "http://127.0.0.1:9/debian"
    ending = project.run("build", project.definition, "--offline", "-o", tmp_path / "out")
    assert ending.status == 0, ending.said
    assert project.artifact(tmp_path / "out") == expected
