"""The lock file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builder.core.errors import BuildError
from builder.debian.decision_records import make_locked_decisions
from builder.debian.lock import (
    Lock,
    LockedDecision,
    LockedImage,
    LockedIndex,
    LockedPackage,
    LockedRelease,
    LockedRun,
    LockError,
    compare_decisions,
)
from builder.debian.scripts.decisions import Decision, DeclaredEffect

pytestmark = pytest.mark.unit


def package(name: str, version: str = "1.0-1", **changes: object) -> LockedPackage:
    values: dict[str, object] = {
        "name": name, "version": version, "architecture": "amd64", "sha256": "ab" * 32, "size": 10,
        "path": f"pool/main/{name}.deb", "source": f"{name} {version}", "suite": "trixie",
    }  # fmt: skip
    return LockedPackage(**(values | changes))  # type: ignore[arg-type]


LOCK = Lock(
    recipe_sha256="0" * 64,
    arch="amd64",
    suite="trixie",
    releases=(LockedRelease("trixie", "2026-11-21T09:15:44Z", "cd" * 32),),
    packages=(package("zlib1g"), package("base-files", source="base 2")),
    tools=(package("qemu-utils"),),
    sets={"container:web": (package("nginx"),), "container:a": ()},
    indexes=(LockedIndex("trixie", "main", "amd64", "main/binary-amd64/Packages.xz", "ef" * 32, 9_000_000),),
    images=(LockedImage("cache", "sha256:" + "12" * 32),),
)


def test_a_lock_survives_the_file(tmp_path: Path) -> None:
    LOCK.dump(tmp_path / "os.lock")
    assert Lock.load(tmp_path / "os.lock") == LOCK


def test_the_file_has_one_sorted_package_a_line() -> None:
    lines = LOCK.render().splitlines()
    named = [json.loads(line.strip().rstrip(","))["name"] for line in lines if '"name"' in line]
    assert named == ["base-files", "zlib1g", "qemu-utils", "nginx", "cache"]
    assert json.loads(LOCK.render())["packages"][0]["source"] == "base 2"


def test_every_package_names_an_index_that_the_lock_has_by_hash() -> None:
    data = json.loads(LOCK.render())
    indexes = {(i["suite"], i["component"]): i["sha256"] for i in data["indexes"]}
    assert [indexes[p["suite"], p["component"]] for p in data["packages"]] == ["ef" * 32] * 2


def test_a_lock_of_the_first_format_is_still_read() -> None:
    data = json.loads(LOCK.render())
    data["schema"] = 1
    del data["indexes"], data["images"]
    for row in (*data["packages"], *data["tools"], *data["sets"]["container:web"]):
        del row["component"]
    old = Lock.parse(json.dumps(data), "os.lock")
    assert old.list_all_packages() == LOCK.list_all_packages()
    assert (old.indexes, old.images) == ((), ())
    assert '"schema": 2' in old.render()


DECIDED = (
    LockedDecision("image", "zlib1g", "sandbox"),
    LockedDecision("container:web", "nginx", "ignore", "nobody logs in"),
)


def test_decisions_about_scripts_survive_the_file_one_a_line() -> None:
    lock = replace(LOCK, decisions=DECIDED)
    assert Lock.parse(lock.render(), "os.lock") == lock
    assert sum('"answer"' in line for line in lock.render().splitlines()) == 2


def test_a_lock_without_decisions_is_written_as_it_was_before_there_were_any() -> None:
    assert "decisions" not in LOCK.render()
    LOCK.require_decisions((), "os.lock")


def test_what_scripts_changed_that_were_run_is_recorded_once_and_other_changes_are_refused() -> None:
    runs = (LockedRun("image", "zlib1g", "2 changes, sha256 ab"), LockedRun("container:web", "nginx", "1 changes"))
    lock = LOCK.replace_runs(runs[1:]).replace_runs(runs[:1])
    assert Lock.parse(lock.render(), "os.lock") == lock
    assert set(lock.runs) == set(runs)
    assert lock.replace_runs(()) == lock.replace_runs(runs) == lock
    assert "runs" not in LOCK.render()
    with pytest.raises(LockError, match=r"changed something else than the lock records: zlib1g") as caught:
        lock.replace_runs([replace(runs[0], changes="3 changes, sha256 cd")])
    assert caught.value.details == ("zlib1g: 2 changes, sha256 ab -> 3 changes, sha256 cd",)
    # A script that is not run any more is forgotten when the others of its image are run again.
    assert lock.replace_runs([LockedRun("image", "other", "1 changes")]).runs[1:] == (
        LockedRun("image", "other", "1 changes"),
    )


def test_decisions_that_are_not_the_locked_ones_are_refused_and_shown() -> None:
    lock = replace(LOCK, decisions=DECIDED)
    lock.require_decisions(DECIDED[::-1], "os.lock")
    changed = (DECIDED[0], replace(DECIDED[1], why="another reason"), LockedDecision("image", "base-files", "sandbox"))
    with pytest.raises(LockError, match=r"os\.lock is stale.*scripts") as caught:
        lock.require_decisions(changed, "os.lock")
    assert caught.value.details == (
        "scripts of nginx (container:web): ignore (nobody logs in) -> ignore (another reason)",
        "scripts of base-files (image): no decision -> sandbox",
    )
    assert [str(change) for change in compare_decisions(DECIDED, ())][1] == (
        "scripts of zlib1g (image): sandbox -> no decision"
    )


def test_a_decision_is_locked_in_words_and_a_files_text_by_its_hash_alone() -> None:
    effects = (
        DeclaredEffect("directory", "/var/lib/a", owner="a:a", mode=0o750),
        DeclaredEffect("file", "/etc/a.key", text="hunter2"),
        DeclaredEffect("link", "/etc/b", target="a"),
        DeclaredEffect("user", "a", home="/srv", shell="/bin/sh"),
    )
    given = {"image": {"a": Decision("effects", effects=effects), "b": Decision("ignore", "not\nneeded"),
                       "c": Decision("sandbox")}}  # fmt: skip
    declared, ignored, boxed = make_locked_decisions(given)
    assert declared.why == (
        "directory /var/lib/a mode 0750 owner a:a; "
        "file /etc/a.key sha256 f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7; "
        "link /etc/b -> a; user a home /srv shell /bin/sh"
    )
    assert (ignored.answer, ignored.why) == ("ignore", "not needed")
    assert (boxed.answer, boxed.why) == ("sandbox", "")
    lock = replace(LOCK, decisions=(declared, ignored, boxed))
    assert Lock.parse(lock.render(), "os.lock") == lock


def test_the_order_in_which_packages_were_found_does_not_matter() -> None:
    other = replace(LOCK, packages=LOCK.packages[::-1], sets=dict(reversed(LOCK.sets.items())))
    assert other == LOCK
    assert other.render() == LOCK.render()


def test_versions_of_one_package_are_sorted_as_versions() -> None:
    lock = Lock("0" * 64, "amd64", "trixie", packages=(package("a", "10"), package("a", "9")))
    assert [p.version for p in lock.packages] == ["9", "10"]


def test_a_source_package_has_a_name_and_a_version() -> None:
    assert package("a", source="glibc 2.41-12").source_name == "glibc"
    assert package("a", source="glibc 2.41-12").source_version == "2.41-12"


def test_all_packages_are_each_there_once() -> None:
    shared = package("libc6", sha256="11" * 32)
    lock = Lock("0" * 64, "amd64", "trixie", packages=(shared, package("a")), tools=(shared,))
    assert [p.name for p in lock.list_all_packages()] == ["a", "libc6"]


def test_a_stale_lock_is_noticed_and_says_what_to_type() -> None:
    LOCK.require_recipe("0" * 64, "os.lock")
    with pytest.raises(LockError, match=r"os\.lock is stale") as caught:
        LOCK.require_recipe("1" * 64, "os.lock")
    assert "build-os lock" in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_a_missing_lock_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="there is no") as caught:
        Lock.load(tmp_path / "os.lock")
    assert "build-os lock" in str(caught.value.hint)


def test_a_directory_is_no_lock(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="cannot read"):
        Lock.load(tmp_path)


def test_an_unfinished_merge_is_shown_with_its_line() -> None:
    text = LOCK.render().replace(' "tools"', '<<<<<<< HEAD\n "tools"')
    with pytest.raises(LockError, match=r"os\.lock:\d+:\d+: ") as caught:
        Lock.parse(text, "os.lock")
    assert "merge" in str(caught.value.hint)


def test_a_lock_of_another_format_is_not_misread() -> None:
    with pytest.raises(LockError, match="lock format 3"):
        Lock.parse(LOCK.render().replace('"schema": 2', '"schema": 3'), "os.lock")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('"size": 10', '"size": "10"', "$.packages[0].size"),
        ('"size": 10', '"size": -1', "$.packages[0].size"),
        ('"size": 10', '"size": true', "$.packages[0].size"),
        ('"size": 10', '"size": 10, "colour": 1', "$.packages[0].colour"),
        ('"size": 10, ', "", "$.packages[0].size"),
        ("ab" * 32, "AB" * 32, "$.packages[0].sha256"),
        ("pool/main/base-files.deb", "../etc/passwd", "$.packages[0].path"),
        ("pool/main/base-files.deb", "/etc/passwd", "$.packages[0].path"),
        ("pool/main/base-files.deb", "pool//x.deb", "$.packages[0].path"),
        ("pool/main/base-files.deb", "http://x/x.deb", "$.packages[0].path"),
        ('"name": "base-files"', '"name": "Base Files"', "$.packages[0].name"),
        ('"version": "1.0-1"', '"version": "1 0"', "$.packages[0].version"),
        ("2026-11-21", "2026-13-21", "$.releases[0].date"),
        ('"tools": [', '"tools": 1, "x": [', "$.x"),
        (' "arch": "amd64",\n', "", "$.arch"),
        ('"arch": "amd64"', '"arch": ["amd64"]', "$.arch"),
        ('"base 2"', '"base"', "$.packages[0].source"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(old: str, new: str, where: str) -> None:
    text = LOCK.render()
    assert old in text
    with pytest.raises(LockError) as caught:
        Lock.parse(text.replace(old, new, 1), "os.lock")
    assert f"os.lock: {where} " in caught.value.what


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "{", "", "\0", "[" * 100000, '{"schema": 1}', b"\xff\xfe"])
def test_what_is_no_lock_at_all_is_refused(text: str | bytes) -> None:
    with pytest.raises(BuildError):
        Lock.parse(text, "os.lock")
