"""Updates of some packages only: what is held keeps its version, what must move with the named ones moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive
from builder.debian.held_packages import find_needed, hold_packages
from builder.debian.index import Package
from builder.debian.lock import LockedPackage
from builder.debian.resolve import ResolveRequest, resolve
from tests.support.debs import Deb, make_deb

pytestmark = pytest.mark.unit

# Today's archive: a needs libb exactly as new as itself, c stands alone.
NEW = (
    {"Package": "a", "Version": "2", "Depends": "libb (= 2)"},
    {"Package": "libb", "Version": "2"},
    {"Package": "c", "Version": "2", "Depends": "virtual"},
    {"Package": "d", "Version": "2", "Provides": "virtual"},
)
OLD = {
    "a": make_deb("a", "1", arch="amd64", Depends="libb (= 1)"),
    "libb": make_deb("libb", "1", arch="amd64"),
    "c": make_deb("c", "1", arch="amd64", Depends="virtual"),
    "d": make_deb("d", "1", arch="amd64", Provides="virtual"),
}


@pytest.fixture
def updated(
    archive_of: Callable[..., PackageArchive], store: Store, console: Any, put: Callable[[Deb], LockedPackage]
) -> Callable[..., dict[str, str]]:
    """Name -> version after an update of these names from a lock of the old ones."""

    def update(*names: str, gone: tuple[str, ...] = ()) -> dict[str, str]:
        archive = archive_of(*NEW)
        request = ResolveRequest(("a", "c"), essential=False)
        packages = resolve(archive, request)
        free = find_needed(names, packages)

        def fetch(package: LockedPackage) -> None:
            if package.name in gone:
                raise SourceError(f"no mirror has {package.name}")
            put(OLD[package.name])

        kept = [deb.locked for name, deb in OLD.items() if name not in free]
        found = resolve(hold_packages(archive, kept, store, console, fetch), request)
        return {package.name: package.version for package in found}

    return update


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), {"a": "1", "libb": "1", "c": "1", "d": "1"}),
        (("a",), {"a": "2", "libb": "2", "c": "1", "d": "1"}),
        (("c",), {"a": "1", "libb": "1", "c": "2", "d": "2"}),
        (("a", "c"), {"a": "2", "libb": "2", "c": "2", "d": "2"}),
        # What needs libb exactly as old as it was cannot stay behind.
        (("libb",), {"a": "2", "libb": "2", "c": "1", "d": "1"}),
    ],
)
def test_the_named_ones_and_what_they_need_are_updated(
    updated: Callable[..., dict[str, str]], names: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert updated(*names) == expected


def test_what_no_mirror_has_any_more_is_updated_and_said(updated: Callable[..., dict[str, str]], console: Any) -> None:
    assert updated("c", gone=("a", "libb")) == {"a": "2", "libb": "2", "c": "2", "d": "2"}
    assert "warning: a 1 is updated as well: no mirror has a" in console.said


def test_a_locked_version_that_the_archive_still_has_needs_no_deb(
    archive_of: Callable[..., PackageArchive], store: Store, console: Any
) -> None:
    archive = archive_of({"Package": "a", "Version": "1"}, {"Package": "a", "Version": "2"})
    old = next(package for package in archive.get("a") if package.version == "1")
    kept = LockedPackage("a", "1", "amd64", old.sha256, old.size, old.path, "a 1", "suite0")
    held = hold_packages(archive, [kept], store, console, lambda package: pytest.fail("not needed"))
    assert [p.version for p in resolve(held, ResolveRequest(("a",), essential=False))] == ["1"]


def test_what_is_needed_follows_virtual_packages(archive_of: Callable[..., PackageArchive]) -> None:
    packages: tuple[Package, ...] = resolve(archive_of(*NEW), ResolveRequest(("a", "c"), essential=False))
    assert find_needed(["c", "not-there"], packages) == {"c", "d"}
