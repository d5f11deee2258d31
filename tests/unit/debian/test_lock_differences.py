"""What an update brings: versions, sizes, changelog entries, advisories."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace

import pytest

from builder.core.store import Store
from builder.debian.changelog import ChangelogEntry, find_entries_between, parse_changelog
from builder.debian.lock import Lock, LockedPackage
from builder.debian.lockdiff import compare_locks, explain_differences
from tests.support.debs import Deb, make_deb, tar_directory, tar_entry, tar_link

pytestmark = pytest.mark.unit

CHANGELOG = """\
openssl (3.5.2-1~deb13u1) trixie-security; urgency=medium

  * CVE-2026-0001 and CVE-2026-0002: two
    lines (Closes: #1234, #5678).
  * Fix LP: #99, see DSA-5555-1

 -- A Maintainer <a@example.org>  Mon, 02 Feb 2026 10:00:00 +0000

openssl (3.5.1-2) unstable; urgency=low

  * Nothing of note.

 -- A Maintainer <a@example.org>  Thu, 01 Jan 2026 10:00:00 +0000

openssl (3.5.1-1) unstable; urgency=low

  * CVE-2025-1111

 -- A Maintainer <a@example.org>  Thu, 01 Jan 2025 10:00:00 +0000
"""
REBUILD = "openssl (3.5.2-1+b1) sid; urgency=low, binary-only=yes\n\n  * Rebuild.\n\n -- B <b@x>  Thu, 01 Jan 2026\n"


def deb(name: str, version: str, *, size: str = "10", link: str = "", **files: str) -> Deb:
    doc = f"./usr/share/doc/{name}"
    entries = [tar_link(doc, link)] if link else [tar_directory(doc)]
    entries += [
        tar_entry(f"{doc}/changelog.{key.replace('_', '.')}.gz", gzip.compress(text.encode(), mtime=0))
        for key, text in files.items()
    ]
    directories = [tar_directory(f"./{path}") for path in ("usr", "usr/share", "usr/share/doc")]
    return make_deb(name, version, arch="amd64", files=(*directories, *entries), Installed_Size=size)


def lock(*packages: LockedPackage, **sets: tuple[LockedPackage, ...]) -> Lock:
    return Lock("0" * 64, "amd64", "trixie", packages=packages, tools=sets.pop("tools", ()), sets=sets)


def test_entries_name_advisories_and_bugs() -> None:
    newest, middle, _ = parse_changelog(CHANGELOG)
    assert newest.version == "3.5.2-1~deb13u1"
    assert newest.advisories == ("CVE-2026-0001", "CVE-2026-0002", "DSA-5555-1")
    assert newest.bugs == ("#1234", "#5678", "LP: #99")
    assert middle == ChangelogEntry("3.5.1-2", ("* Nothing of note.",))


def test_only_entries_after_the_old_version_up_to_the_new_count() -> None:
    entries = parse_changelog(CHANGELOG)
    assert [e.version for e in find_entries_between(entries, "3.5.1-1", "3.5.2-1~deb13u1")] == [
        "3.5.2-1~deb13u1",
        "3.5.1-2",
    ]
    assert find_entries_between(entries, "3.5.2-1~deb13u1", "3.5.2-1~deb13u1") == []


@pytest.mark.parametrize("text", ["", "no changelog", "a (1 2) x; y\n", "\0\n  *\n", "x (no version!) a; b\n\n  * c\n"])
def test_text_that_is_no_changelog_has_no_entries(text: str) -> None:
    assert parse_changelog(text) == []


def test_an_update_is_explained_by_the_new_debs(store: Store, put: Callable[[Deb], LockedPackage]) -> None:
    old = put(deb("openssl", "3.5.1-1", size="10"))
    new = put(deb("openssl", "3.5.2-1~deb13u1", size="15", Debian=CHANGELOG))
    linked = put(deb("libssl3", "3.5.2-1~deb13u1", link="openssl"))
    before = lock(old, put(deb("gone", "1")), tools=(old,))
    after = lock(new, linked, tools=(new,))
    changes = list(explain_differences(compare_locks(before, after), after, store))
    assert [(c.name, c.kind, c.groups) for c in changes] == [
        ("gone", "removed", ("image",)),
        ("libssl3", "added", ("image",)),
        ("openssl", "changed", ("image", "tools")),
    ]
    openssl = changes[2]
    assert openssl.installed == 5
    assert openssl.download == new.size - old.size
    assert openssl.advisories == ("CVE-2026-0001", "CVE-2026-0002", "DSA-5555-1")
    assert [entry.version for entry in openssl.entries] == ["3.5.2-1~deb13u1", "3.5.1-2"]


def test_documentation_in_another_package_is_followed(store: Store, put: Callable[[Deb], LockedPackage]) -> None:
    owner = put(deb("openssl", "3.5.2-1~deb13u1", Debian=CHANGELOG))
    old = replace(put(deb("libssl3", "3.5.1-2")), source="openssl 3.5.1-2")
    new = replace(put(deb("libssl3", "3.5.2-1~deb13u1", link="openssl")), source="openssl 3.5.2-1~deb13u1")
    (change,) = explain_differences(compare_locks(lock(old, owner), lock(new, owner)), lock(new, owner), store)
    assert [entry.version for entry in change.entries] == ["3.5.2-1~deb13u1"]


def test_a_binary_rebuild_tells_of_itself(store: Store, put: Callable[[Deb], LockedPackage]) -> None:
    source = "openssl 3.5.2-1"
    old = replace(put(deb("openssl", "3.5.2-1", Debian=CHANGELOG)), source=source)
    new = replace(put(deb("openssl", "3.5.2-1+b1", Debian=CHANGELOG, Debian_amd64=REBUILD)), source=source)
    (change,) = explain_differences(compare_locks(lock(old), lock(new)), lock(new), store)
    assert change.entries == (ChangelogEntry("3.5.2-1+b1", ("* Rebuild.",)),)


def test_debs_that_are_not_at_hand_leave_sizes_and_words_out(store: Store) -> None:
    old, new = deb("a", "1").locked, deb("a", "2").locked
    (change,) = explain_differences(compare_locks(lock(old), lock(new)), lock(new), store)
    assert (change.installed, change.entries) == (None, ())


def test_locks_of_the_same_packages_do_not_differ() -> None:
    package = deb("a", "1").locked
    assert compare_locks(lock(package), replace(lock(package), recipe_sha256="1" * 64)) == []
