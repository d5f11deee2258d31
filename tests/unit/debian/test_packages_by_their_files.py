"""Which package has a file, by the archive's own signed list of all files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive, open_archive
from builder.debian.contents import BLOCK, Owner, find_owners
from builder.debian.mirror import Mirrors
from builder.debian.release import Freshness
from builder.debian.transfer import Client

pytestmark = pytest.mark.unit

LIBRARIES = "usr/lib/x86_64-linux-gnu"
CONTENTS = f"""\
bin/busybox                                             shells/busybox-static,utils/busybox,utils/not-in-the-index
usr/lib/jvm/java-21-openjdk-amd64/lib/server/libjvm.so  java/openjdk-21-jre-headless
usr/share/doc/a b/libgomp.so.1                          doc/strange
{LIBRARIES}/libgomp.so.1                                libs/libgomp1
{LIBRARIES}/libgomp.so.1.0.0                            libs/libgomp1
{LIBRARIES}/notlibgomp.so.1                             libs/other
"""
Find = Callable[..., dict[str, list[Owner]]]


@pytest.fixture
def find(
    mirrors: Mirrors, signed: Any, store: Store, console: Any, hasty: Client, fresh: Freshness
) -> Callable[..., dict[str, list[Owner]]]:
    def go(*names: str, suites: tuple[str, ...] = ("trixie",), **options: Any) -> dict[str, list[Owner]]:
        archive: PackageArchive = open_archive(
            mirrors, suites, "amd64", store, console, fresh, trust=signed.trust, client=hasty
        )
        return find_owners(names, archive, mirrors, store, console, client=hasty, **options)

    return go


@pytest.fixture
def some(debs: Any) -> list[Any]:
    """The packages that the lists below name, but for one."""
    names = ("busybox", "busybox-static", "libend3", "libgomp1", "libmiddle2", "libnew1", "openjdk-21-jre-headless")
    return [debs(name) for name in (*names, "strange")]


def test_a_file_has_its_packages_and_only_whole_names_count(find: Find, signed: Any, some: Any) -> None:
    signed.publish(*some, contents=CONTENTS)
    assert find("libgomp.so.1", "libjvm.so", "busybox", "libnone.so.9") == {
        "libgomp.so.1": [
            Owner("libgomp1", f"/{LIBRARIES}/libgomp.so.1"),
            Owner("strange", "/usr/share/doc/a b/libgomp.so.1"),
        ],
        "libjvm.so": [Owner("openjdk-21-jre-headless", "/usr/lib/jvm/java-21-openjdk-amd64/lib/server/libjvm.so")],
        "busybox": [Owner("busybox", "/bin/busybox"), Owner("busybox-static", "/bin/busybox")],
        "libnone.so.9": [],
    }


def test_a_long_list_is_read_in_pieces_and_downloaded_once(find: Find, signed: Any, server: Any, some: Any) -> None:
    filler = "".join(f"usr/share/doc/file-{number:06d}   doc/doc\n" for number in range(90_000))
    assert len(filler) > 3 * BLOCK
    lines = filler.splitlines(keepends=True)
    lines.insert(len(lines) // 2, f"{LIBRARIES}/libmiddle.so.2\tlibs/libmiddle2\n")
    signed.publish(*some, contents="".join(lines) + f"{LIBRARIES}/libend.so.3 libs/libend3")  # no newline at its end
    wanted = {
        "libmiddle.so.2": [Owner("libmiddle2", f"/{LIBRARIES}/libmiddle.so.2")],
        "libend.so.3": [Owner("libend3", f"/{LIBRARIES}/libend.so.3")],
    }
    assert find(*wanted) == wanted
    assert find(*wanted, offline=True) == wanted
    assert len([path for path in server.paths if "/main/by-hash/" in path]) == 1


def test_later_suites_are_asked_for_what_is_left_alone(find: Find, signed: Any, server: Any, some: Any) -> None:
    signed.publish(*some, contents=CONTENTS)
    signed.publish(*some, suite="trixie-security", contents=f"{LIBRARIES}/libnew.so.1 libs/libnew1\n")
    suites = ("trixie", "trixie-security")
    assert find("libgomp.so.1", suites=suites)
    assert not any("trixie-security/main/by-hash" in path for path in server.paths)
    assert find("libnew.so.1", suites=suites)["libnew.so.1"] == [Owner("libnew1", f"/{LIBRARIES}/libnew.so.1")]


def test_a_list_that_is_not_there_is_an_error(find: Find, signed: Any, server: Any, some: Any) -> None:
    signed.publish(*some)
    with pytest.raises(SourceError, match="name no list of all files"):
        find("libgomp.so.1")
    signed.publish(*some, contents=CONTENTS)
    with pytest.raises(SourceError, match="downloading is off"):
        find("libgomp.so.1", offline=True)


def test_a_list_of_another_day_does_as_well_and_is_not_kept(
    find: Find, signed: Any, server: Any, store: Store, some: Any
) -> None:
    # Nothing of it is believed but names, and those are looked up in the signed index.
    signed.publish(*some, contents=CONTENTS)
    lists = [path for path in signed.files if "Contents-" in path or "/main/by-hash/" in path]
    lie = f"{LIBRARIES}/libgomp.so.1 libs/libgomp1,libs/not-in-the-index\n"
    for path in lists:
        signed.files[path] = gzip.compress(lie.encode())
    assert find("libgomp.so.1") == {"libgomp.so.1": [Owner("libgomp1", f"/{LIBRARIES}/libgomp.so.1")]}
    with pytest.raises(SourceError, match="downloading is off"):
        find("libgomp.so.1", offline=True)
    for path in lists:
        signed.files[path] = b"something else"
    with pytest.raises(SourceError, match="cannot be unpacked"):
        find("libgomp.so.1")


def test_what_unpacks_to_more_than_is_signed_is_refused(find: Find, signed: Any, some: Any) -> None:
    lie = f" {'0' * 64} 100 main/Contents-amd64\n"
    text = CONTENTS + "usr/share/doc/file doc/doc\n" * (BLOCK // 20)
    signed.publish(*some, contents=text, change=lambda text: text + lie)
    with pytest.raises(SourceError, match=f"more than {BLOCK} bytes"):
        find("libgomp.so.1")
