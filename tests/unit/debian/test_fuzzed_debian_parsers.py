"""Whatever the bytes: only our own errors come out."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.core.errors import BuildError
from builder.debian.control import parse_relations, parse_stanza
from builder.debian.deb import Source, read_deb
from builder.debian.index import unpack_index, write_index
from builder.debian.lock import Lock, LockedPackage, LockedRelease
from builder.debian.mirror import find_apt_mirrors, parse_mirrors
from builder.debian.release import parse_release, read_unverified_content
from builder.debian.tarmembers import read_members
from builder.debian.trust import SignatureProblem, Trust, read_verified
from builder.debian.version import is_satisfied, is_version, make_version_key
from builder.tree.tar_headers import TarError
from builder.tree.tree import normalise_path
from tests.support.fuzz import examples, mutated

pytestmark = pytest.mark.unit

quick = examples(200)
texts = st.text(st.characters(codec="utf-8"), max_size=200)
controlish = st.text("ab:01 \t\n()|,<>=~+-.[]#!é\0", max_size=80)


@quick
@given(controlish | texts)
@example("A: b\n c\nA:")
def test_stanzas(text: str) -> None:
    with contextlib.suppress(BuildError):
        parse_stanza(text)


@quick
@given(controlish | texts)
def test_relations(text: str) -> None:
    with contextlib.suppress(BuildError):
        for group in parse_relations(text):
            for relation in group:
                assert parse_relations(str(relation)) == ((relation,),)
                if relation.operator:
                    is_satisfied("1.0-1", relation.operator, relation.version)


@quick
@given(st.lists(st.text("019a:~+-.", min_size=1, max_size=12).filter(is_version), min_size=3, max_size=3))
def test_versions_are_in_one_order(versions: list[str]) -> None:
    a, b, c = map(make_version_key, versions)
    assert (a < b) + (a == b) + (a > b) == 1
    assert not (a <= b <= c) or a <= c
    assert is_satisfied(versions[0], "<<", versions[1]) == is_satisfied(versions[1], ">>", versions[0])


RELEASE = b"""Suite: stable
Codename: trixie
Date: Fri, 01 May 2026 12:00:00 UTC
Valid-Until: Fri, 08 May 2026 12:00:00 UTC
Components: main
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/binary-amd64/Packages
"""


@quick
@given(mutated(RELEASE) | st.binary(max_size=200))
@example(RELEASE)
@example(RELEASE.replace(b"2026", b"0000"))
@example(RELEASE.replace(b"+0000", b"-9999").replace(b"UTC", b"-9999"))
@example(RELEASE.replace(b"Fri, 01 May 2026 12:00:00 UTC", b"Fri, 01 Jan 0001 00:00:00 +2300"))
def test_release_files(data: bytes) -> None:
    with contextlib.suppress(BuildError):
        assert parse_release(data, "trixie").date_text


@quick
@given(
    st.binary(max_size=300)
    | mutated(b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n-----BEGIN PGP SIGNATURE-----\n")
)
def test_signed_texts(data: bytes) -> None:
    with contextlib.suppress(BuildError):
        read_unverified_content(data)
    with pytest.raises(SignatureProblem):
        read_verified(data, [], ())
    assert Trust().parse_pinned_keys(data) == []


INDEX = b"""Package: a
Version: 1
Architecture: amd64
Provides: b (= 1), c
Filename: pool/a.deb
Size: 1
SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

"""


@quick
@given(data=mutated(INDEX + INDEX) | st.binary(max_size=300))
def test_lists_of_packages(tmp_path: Path, data: bytes) -> None:
    from builder.debian.index import Index

    with contextlib.suppress(BuildError):
        write_index(data, tmp_path / "index")
        index = Index(tmp_path / "index", "s")
        for name in index.list_names():
            index.get(name)
            index.list_providers(name)


@quick
@given(data=st.binary(max_size=200), name=st.sampled_from(["x.xz", "x.gz", "x"]))
def test_compressed_lists(data: bytes, name: str) -> None:
    with contextlib.suppress(BuildError):
        unpack_index(data, name, 100)


LOCK = Lock(
    "0" * 64,
    "amd64",
    "trixie",
    (LockedRelease("trixie", "2026-11-21T09:15:44Z", "1" * 64),),
    (LockedPackage("a", "1", "amd64", "2" * 64, 3, "pool/a.deb", "a 1", "trixie"),),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@quick
@given(mutated(LOCK.render().encode()) | st.binary(max_size=100))
@example(LOCK.render().encode().replace(b'"size": 3', b'"size": ' + b"9" * 5000))
def test_locks(data: bytes) -> None:
    with contextlib.suppress(BuildError):
        assert Lock.parse(data, "os.lock").render()


@quick
@given(st.sampled_from(sorted(json.loads(LOCK.render()))), json_values)
def test_locks_with_other_values(key: str, value: Any) -> None:
    data = json.loads(LOCK.render()) | {key: value}
    with contextlib.suppress(BuildError):
        Lock.parse(json.dumps(data), "os.lock")


@quick
@given(texts | st.text("htps:/.[]@%?#= ax0", max_size=40))
@example("http://[::1")
@example("http://x:99999999/")
def test_mirror_settings(text: str) -> None:
    with contextlib.suppress(BuildError):
        for url in parse_mirrors(text, "the test").list_urls("trixie-security", "pool/x"):
            assert url.startswith("http")


@quick
@given(text=texts | st.text("deb http://x.y [] trixie main\n#:", max_size=80))
def test_apt_sources(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    (tmp_path / "sources.list").write_text(text)
    (tmp_path / "sources.list.d" / "x.sources").write_text(text)
    find_apt_mirrors(tmp_path, ("trixie",))


@examples(400)
@given(data=st.data())
def test_tar_archives(tars: Any, data: st.DataObject) -> None:
    good = tars.tar(
        tars.directory("./d"), tars.entry("./d/f", "content"), tars.link("./l", "d/f"),
        tars.entry("./h", kind=b"1", link="./d/f"), tars.entry("././@LongLink", "n" * 120 + "\0", kind=b"L"),
        tars.entry("./n", "x"), tars.entry("./p", b"10 path=x\n", kind=b"x"), tars.entry("./o"),
    )  # fmt: skip
    archive = bytearray(data.draw(mutated(good)))
    if data.draw(st.booleans()):  # make the checksums right again, or little else is reached
        for start in range(0, len(archive) - 511, 512):
            block = archive[start : start + 512]
            block[148:156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        members = read_members(bytes(archive))
    except TarError:
        return
    for member in members:
        assert normalise_path(member.path) == member.path
        assert 0 <= member.offset <= len(archive)
        assert member.offset + member.size <= len(archive)
        assert member.mode <= 0o7777


@quick
@given(data=st.data())
def test_debs(debs: Any, tars: Any, data: st.DataObject) -> None:
    good = debs(files=(tars.entry("./x", "y"),), compression=data.draw(st.sampled_from(["xz", "gz", ""]))).data
    with contextlib.suppress(BuildError, TarError):
        read_deb(Source(io.BytesIO(data.draw(mutated(good) | st.binary(max_size=300)))), io.BytesIO())
