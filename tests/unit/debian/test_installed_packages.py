"""Packages on a root that has some already: what is there, what fits to it, and one record of all."""

from __future__ import annotations

import pytest
from hypothesis import given

from builder.core.errors import BuildError
from builder.debian.index import make_package
from builder.debian.installed import Installed, find_installed, find_misfits, merge_database
from builder.debian.lock import LockedPackage
from builder.tree.node import make_file
from builder.tree.tree import Tree
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

STATUS = """\
Package: libc6
Status: install ok installed
Version: 2.36-9
Provides: libc6-virtual (= 2.36), other
Breaks: old-thing (<< 2)

Package: removed
Status: deinstall ok config-files
Version: 1

Package: mawk
Status: install ok installed
Version: 1.3
Provides: awk
"""


def make_root(**files: str) -> Tree:
    tree = Tree()
    for name, text in files.items():
        tree.put("/var/lib/dpkg/" + name.replace("__", "/").replace("_d_", ".d/"), make_file(text, origin="t"))
    return tree


def package(name: str, version: str = "1", **fields: str) -> object:
    locked = LockedPackage(name, version, "amd64", "0" * 64, 1, f"pool/{name}.deb", f"{name} {version}", "trixie")
    return make_package(
        {"Package": name, "Version": version, **{key.replace("_", "-"): value for key, value in fields.items()}}, locked
    )


def misfits(*packages: object, status: str = STATUS) -> list[str]:
    installed = find_installed(make_root(status=status))
    assert installed is not None
    return find_misfits(packages, installed)  # type: ignore[arg-type]  # made above


def test_only_what_is_installed_is_there() -> None:
    found = find_installed(make_root(status=STATUS))
    assert found is not None
    assert sorted(found) == ["libc6", "mawk"]
    assert found["libc6"].version == "2.36-9"
    assert found["libc6"].provides == {"libc6-virtual": "2.36", "other": ""}


def test_distroless_images_record_a_package_a_file() -> None:
    tree = make_root(status_d_libc6="Package: libc6\nVersion: 2.41\n")
    tree.put("/var/lib/dpkg/status.d/libc6.md5sums", make_file("0 usr/lib/libc.so.6", origin="t"))
    assert find_installed(tree) == {"libc6": Installed("libc6", "2.41", {})}


def test_a_root_without_a_record_has_none() -> None:
    assert find_installed(Tree()) is None


def test_what_the_base_has_is_enough() -> None:
    assert misfits(package("tool", Depends="libc6 (>= 2.30), awk, other | nothing, libc6-virtual (>= 2)")) == []


def test_what_is_too_old_is_named() -> None:
    problems = misfits(package("tool", Depends="libc6 (>= 2.38)", Pre_Depends="gone"))
    assert problems == ["tool needs gone", "tool needs libc6 (>= 2.38), and the base has 2.36-9"]


def test_what_cannot_be_beside_each_other_is_named() -> None:
    assert misfits(package("old-thing", "1")) == ["old-thing 1 cannot be beside libc6 2.36-9, which the base has"]
    assert misfits(package("gawk", Conflicts="mawk (<< 2)")) == ["gawk cannot be beside mawk 1.3, which the base has"]
    assert misfits(package("mawk-ng", Conflicts="awk", Provides="awk")) == [
        "mawk-ng cannot be beside mawk 1.3, which the base has"
    ]


def test_packages_that_come_together_are_enough_for_each_other() -> None:
    assert misfits(package("tool", Depends="lib-tool (= 2)"), package("lib-tool", "2")) == []


def test_record_has_both() -> None:
    before = make_root(status=STATUS, triggers__File="/usr/lib old\n", triggers__only="x y\n")
    after = before.copy()
    after.put(
        "/var/lib/dpkg/status", make_file("Package: curl\nStatus: install ok installed\nVersion: 8\n\n", origin="s")
    )
    after.put("/var/lib/dpkg/triggers/File", make_file("/usr/share new\n", origin="s"))
    merge_database(after, before)
    found = find_installed(after)
    assert found is not None
    assert sorted(found) == ["curl", "libc6", "mawk"]
    names = [line for line in after.read_text("/var/lib/dpkg/status").splitlines() if line.startswith("Package")]
    assert names == sorted(names)
    assert after.read_text("/var/lib/dpkg/triggers/File") == "/usr/lib old\n/usr/share new\n"


@examples(100)
@given(status=mutated(STATUS.encode()))
def test_any_record_gives_packages_or_an_error(status: bytes) -> None:
    tree = Tree()
    tree.put("/var/lib/dpkg/status", make_file(status, origin="t"))
    try:
        find_installed(tree)
    except BuildError:
        return
