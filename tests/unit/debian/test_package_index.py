"""The searchable list of packages."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.debian.archive import PackageArchive
from builder.debian.index import Index, IndexProblem, unpack_index, write_index

pytestmark = pytest.mark.unit

STANZA = """Package: curl
Source: curl-source (8.0-1)
Version: 8.0-1+b1
Installed-Size: 495
Maintainer: Somebody <s@example.org>
Architecture: amd64
Depends: libc6 (>= 2.34),
 libcurl4t64 (= 8.0-1)
Provides: web-client, fetcher (= 2)
Description: command line\ttool
Multi-Arch: foreign
Section: web
Priority: optional
Filename: pool/main/c/curl/curl_8.0.deb
Size: 270212
MD5sum: 0123
SHA256: 135636bd8b713c582d33e50ec4e36ea55cc3c5da3f12bbeb6b87d2bcbd3a0649
"""


def index_of(tmp_path: Path, text: str) -> Index:
    write_index(text.encode(), tmp_path / "index")
    return Index(tmp_path / "index", "trixie")


def test_a_package_is_found_with_all_that_matters(tmp_path: Path) -> None:
    (package,) = index_of(tmp_path, STANZA).get("curl")
    assert package.version == "8.0-1+b1"
    assert package.depends == "libc6 (>= 2.34), libcurl4t64 (= 8.0-1)"
    assert (package.size, package.installed_size, package.essential) == (270212, 495, False)
    assert package.source == "curl-source 8.0-1"
    assert package.description == "command line tool"
    assert package.suite == "trixie"


def test_what_provides_a_name_is_found_by_it(tmp_path: Path) -> None:
    index = index_of(tmp_path, STANZA)
    assert index.list_providers("web-client") == ["curl"]
    assert index.list_providers("fetcher") == ["curl"]
    assert index.list_providers("curl") == []
    assert index.list_names() == {"curl", "web-client", "fetcher"}


def test_every_one_of_many_packages_is_found_and_nothing_else(tmp_path: Path) -> None:
    names = sorted({f"{letter}{number}" for letter in ("a", "ab", "a-b", "z", "lib+") for number in range(40)})
    text = "\n".join(STANZA.replace("Package: curl", f"Package: {name}") for name in names)
    index = index_of(tmp_path, text)
    for name in names:
        assert [package.name for package in index.get(name)] == [name]
    for name in ("", "a", "a40", "0", "zz", "ab-", "lib+4 0"):
        assert index.get(name) == []
    assert len(index.list_providers("fetcher")) == len(names)


def test_several_versions_of_a_package_are_all_found(tmp_path: Path) -> None:
    index = index_of(tmp_path, STANZA + "\n\n" + STANZA.replace("8.0-1+b1", "9.0-1"))
    assert sorted(package.version for package in index.get("curl")) == ["8.0-1+b1", "9.0-1"]


def test_essential_packages_are_listed(tmp_path: Path) -> None:
    index = index_of(tmp_path, STANZA + "\n" + STANZA.replace("Package: curl", "Package: base\nEssential: yes"))
    assert index.list_essential() == ["base"]
    assert "!essential" not in index.list_names()


def test_an_empty_list_is_a_list(tmp_path: Path) -> None:
    index = index_of(tmp_path, "")
    assert index.get("curl") == []
    assert index.list_names() == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [("Package: curl", "Package: ../x"), ("Version: 8.0-1+b1\n", ""), ("Size: 270212", "Size: many"),
     ("135636bd", "nothex!!"), ("Filename: pool", "File: pool"), ("Installed-Size: 495", "Installed-Size: x"),
     ("Package: curl", "Package: cürl"), ("Size: 270212", "Size: " + "9" * 5000),
     ("Filename: pool", "Filename: ../pool"), ("Architecture: amd64", "Architecture: a_b")],
)  # fmt: skip
def test_a_malformed_entry_is_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in STANZA
    with pytest.raises(IndexProblem, match="not the entry of a package"):
        index_of(tmp_path, STANZA.replace(old, new))


@pytest.mark.parametrize("damage", [b"", b"x", b"build-os package index 0 " + b"0" * 64 + b"\n"])
def test_a_file_of_another_format_is_not_misread(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "index").write_bytes(damage)
    with pytest.raises(ValueError, match=r"."):
        Index(tmp_path / "index", "trixie")


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    index_of(tmp_path, STANZA)
    data = bytearray((tmp_path / "index").read_bytes())
    data[-10] ^= 1
    (tmp_path / "index").write_bytes(data)
    with pytest.raises(ValueError, match="not an index"):
        Index(tmp_path / "index", "trixie")


@pytest.mark.parametrize("pack", [("x.xz", lzma.compress), ("x.gz", gzip.compress), ("x", bytes)])
def test_lists_are_unpacked_to_no_more_than_was_promised(pack: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, compress = pack
    text = b"a" * 5_000_000
    assert unpack_index(compress(text), name, 5_000_000) == text
    with pytest.raises(IndexProblem, match="does not unpack to the 4999999 bytes"):
        unpack_index(compress(text), name, 4_999_999)


@pytest.mark.parametrize("name", ["x.xz", "x.gz"])
def test_broken_and_cut_lists_are_refused(name: str) -> None:
    compress = lzma.compress if name.endswith("xz") else gzip.compress
    with pytest.raises(IndexProblem, match="broken"):
        unpack_index(b"not compressed at all", name, 100)
    with pytest.raises(IndexProblem, match="does not unpack"):
        unpack_index(compress(b"x" * 50)[:-20], name, 100)


def test_of_equal_versions_in_two_suites_the_first_suite_s_is_taken(
    archive_of: Callable[..., PackageArchive],
) -> None:
    same = {"Package": "a", "Version": "1"}
    archive = archive_of(same, {"Package": "a", "Version": "3"}, more=[[same, {"Package": "a", "Version": "10"}]])
    assert [(p.version, p.suite) for p in archive.get("a")] == [
        ("10", "suite1"),
        ("3", "suite0"),
        ("1", "suite0"),
    ]


def test_packages_of_other_architectures_are_not_there(archive_of: Callable[..., PackageArchive]) -> None:
    archive = archive_of({"Package": "a", "Architecture": "arm64"}, {"Package": "b", "Architecture": "all"})
    assert archive.get("a") == []
    assert [p.name for p in archive.get("b")] == ["b"]


def test_similar_names_are_suggested(archive_of: Callable[..., PackageArchive]) -> None:
    archive = archive_of({"Package": "podman"}, {"Package": "postgresql", "Provides": "database"})
    assert archive.list_similar("podmann") == ["podman"]
    assert archive.list_similar("databse") == ["database"]
    assert archive.list_similar("zzz") == []
