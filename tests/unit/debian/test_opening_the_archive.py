"""The archive as a whole, from a mirror on loopback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive, lock_package, open_archive
from builder.debian.fetch import fetch_packages
from builder.debian.lock import Lock
from builder.debian.mirror import Mirrors
from builder.debian.release import Freshness, ReleaseError
from builder.debian.resolve import ResolveRequest, resolve
from builder.debian.transfer import Client
from builder.debian.trust import Signs, Trust
from builder.debian.unpack import unpack_all, unpack_tree

pytestmark = pytest.mark.unit


@pytest.fixture
def open_it(
    mirrors: Mirrors, signed: Any, store: Store, console: Any, hasty: Client, fresh: Freshness
) -> Callable[..., PackageArchive]:
    def go(*suites: str, arch: str = "amd64", **options: Any) -> PackageArchive:
        options = {"trust": signed.trust, "client": hasty} | options
        freshness = options.pop("freshness", fresh)
        return open_archive(mirrors, suites or ("trixie",), arch, store, console, freshness, **options)

    return go


def test_from_a_wish_to_a_tree(
    open_it: Any, signed: Any, server: Any, mirrors: Mirrors, store: Store, console: Any, debs: Any, tars: Any
) -> None:
    library = debs("libhello", files=(tars.entry("./usr/lib/libhello.so", "elf"),))
    program = debs("hello", "2.0-1", files=(tars.entry("./usr/bin/hello", "#!"),), Depends="libhello (>= 1)")
    signed.publish(library, program, debs("unrelated"))
    archive = open_it()
    chosen = resolve(archive, ResolveRequest(("hello",)))
    lock = Lock("0" * 64, "amd64", "trixie", archive.list_locked_releases(), tuple(map(lock_package, chosen)))
    assert lock == Lock.parse(lock.render(), "os.lock")
    assert "127.0.0.1" not in lock.render()
    fetch_packages(lock.packages, lambda: mirrors, store, console)
    tree = unpack_tree(unpack_all(lock.packages, store, console, jobs=2))
    assert tree.read("/usr/bin/hello") == b"#!"
    assert tree.read("/usr/lib/libhello.so") == b"elf"
    assert not any("unrelated" in path for path in server.paths)


def test_the_list_is_downloaded_by_hash_and_once(open_it: Any, signed: Any, server: Any, debs: Any) -> None:
    signed.publish(debs("a"))
    open_it()
    assert [path.rpartition("/")[0] for path in server.paths] == [
        "dists/trixie", "dists/trixie/main/binary-amd64/by-hash/SHA256"
    ]  # fmt: skip
    assert open_it().get("a")
    assert server.paths[2:] == ["dists/trixie/InRelease"]


@pytest.mark.parametrize("lists", [("xz",), ("gz",), ("",), ("gz", "xz")])
def test_mirrors_without_by_hash_and_other_compressions_do(
    open_it: Any, signed: Any, debs: Any, lists: tuple[str, ...]
) -> None:
    signed.publish(debs("a"), by_hash=False, lists=lists)
    assert [p.name for p in open_it().get("a")] == ["a"]


def test_suites_are_searched_together(open_it: Any, signed: Any, debs: Any) -> None:
    signed.publish(debs("a", "1"))
    signed.publish(debs("a", "2"), debs("b"), suite="trixie-security")
    archive = open_it("trixie", "trixie-security")
    assert [(p.version, p.suite) for p in archive.get("a")] == [("2", "trixie-security"), ("1", "trixie")]
    assert [r.suite for r in archive.list_locked_releases()] == ["trixie", "trixie-security"]


def test_a_suite_that_the_mirror_does_not_carry_is_named(open_it: Any) -> None:
    with pytest.raises(SourceError, match="cannot download the index of trixie") as caught:
        open_it()
    assert "does the mirror from the test carry trixie?" in str(caught.value.hint)


def test_an_architecture_that_is_not_there_is_named(open_it: Any, signed: Any, debs: Any) -> None:
    signed.publish(debs("a"))
    with pytest.raises(SourceError, match="trixie has no main for arm64") as caught:
        open_it(arch="arm64")
    assert "amd64" in str(caught.value.hint)


@pytest.mark.parametrize("fault", ["unsigned", "stranger", "expired", "downgraded", "older"])
def test_an_index_that_cannot_be_trusted_stops_everything(
    open_it: Any, signed: Any, debs: Any, server: Any, fresh: Freshness, fault: str
) -> None:
    signed.publish(debs("a"), valid_until=fresh.now + timedelta(days=1))
    options: dict[str, Any] = {}
    match fault:
        case "unsigned":
            signed.files["dists/trixie/InRelease"] = b"Codename: trixie\n"
        case "stranger":
            signed.publish(debs("a"), signer=pysequoia.Tsk.generate("Stranger"))
        case "expired":
            options["freshness"] = Freshness(fresh.now + timedelta(days=2))
        case "downgraded":
            signed.publish(debs("a"), codename="bookworm")
        case "older":
            options["newest"] = open_it().list_locked_releases()
            signed.publish(debs("a"), date=fresh.now - timedelta(days=9))
            server.requests.clear()
    with pytest.raises(ReleaseError) as caught:
        open_it(**options)
    assert caught.value.exit_code == 6
    assert server.paths == ["dists/trixie/InRelease"]


def test_an_index_that_changes_while_it_is_read_is_read_again(
    open_it: Any, signed: Any, server: Any, debs: Any
) -> None:
    signed.publish(debs("a", "1"), by_hash=False)

    def update(handler: Any) -> None:
        old = server.files["dists/trixie/InRelease"]
        server.rules.clear()
        signed.publish(debs("a", "2"), by_hash=False)
        handler.send_file(old)

    server.rules["dists/trixie/InRelease"] = update
    assert [p.version for p in open_it().get("a")] == ["2"]


def test_an_index_that_changes_all_the_time_is_given_up(open_it: Any, signed: Any, server: Any, debs: Any) -> None:
    count = 0

    def update(handler: Any) -> None:
        nonlocal count
        count += 1
        signed.publish(debs("a", str(count)), by_hash=False)
        signed.files["dists/trixie/main/binary-amd64/Packages.xz"] = b"never the right one"
        handler.send_file(signed.files["dists/trixie/InRelease"])

    server.rules["dists/trixie/InRelease"] = update
    with pytest.raises(SourceError, match="cannot download the list"):
        open_it()
    assert count == 3


def test_an_index_that_stays_wrong_is_refused(open_it: Any, signed: Any, server: Any, debs: Any) -> None:
    signed.publish(debs("a"), by_hash=False)
    signed.files["dists/trixie/main/binary-amd64/Packages.xz"] = b"another list"
    with pytest.raises(SourceError, match="cannot download the list of packages of trixie"):
        open_it()


def test_a_list_that_unpacks_to_more_than_its_release_says_is_refused(open_it: Any, signed: Any, debs: Any) -> None:
    def smaller(text: str) -> str:
        head, plain, packed = text.rstrip("\n").rsplit("\n", 2)
        digest, _, path = plain.split()
        return f"{head}\n {digest} 10 {path}\n{packed}\n"

    signed.publish(debs("a"), change=smaller)
    with pytest.raises(SourceError, match="does not unpack to the 10 bytes"):
        open_it()


def test_a_release_that_claims_an_absurd_size_is_refused(open_it: Any, signed: Any, debs: Any) -> None:
    def larger(text: str) -> str:
        head, packed = text.rstrip("\n").rsplit("\n", 1)
        digest, _, path = packed.split()
        return f"{head}\n {digest} {1 << 40} {path}\n"

    signed.publish(debs("a"), change=larger)
    with pytest.raises(SourceError, match="is said to have"):
        open_it()


def test_a_damaged_searchable_index_is_made_again(open_it: Any, signed: Any, store: Store, debs: Any) -> None:
    signed.publish(debs("a"))
    open_it()
    (index,) = (store.root / "indexes").iterdir()
    data = bytearray(index.read_bytes())
    data[-20] ^= 4
    index.write_bytes(data)
    assert [p.name for p in open_it().get("a")] == ["a"]


def test_a_list_of_packages_that_was_replaced_in_the_store_is_fetched_again(
    open_it: Any, signed: Any, store: Store, debs: Any
) -> None:
    """Of the same size, and well compressed: only its hash tells."""
    signed.publish(debs("a"), lists=("",))
    open_it()
    (index,) = (store.root / "indexes").iterdir()
    blob = store.locate_blob(index.name)
    planted = blob.read_bytes().replace(b"Package: a", b"Package: b")
    assert planted != blob.read_bytes()
    blob.write_bytes(planted)
    index.unlink()
    assert [p.name for p in open_it().get("a")] == ["a"]


def keyring_deb(signed: Any, debs: Any, tars: Any) -> Any:
    keys = bytes(pysequoia.Tsk.generate("Other").extract_certificate()) + bytes(signed.key.extract_certificate())
    path = "./usr/share/keyrings/debian-archive-keyring.pgp"
    return debs("debian-archive-keyring", files=(tars.entry(path, keys), tars.entry("./etc/x", keys)))


def test_without_a_keyring_the_keys_come_from_the_mirror(
    open_it: Any, signed: Any, debs: Any, tars: Any, tmp_path: Path, console: Any
) -> None:
    signed.publish(debs("a"), keyring_deb(signed, debs, tars))
    trust = Trust(signed.trust.fingerprints, (tmp_path / "absent",))
    archive = open_it(trust=trust)
    assert archive.releases[0].signers == tuple(trust.fingerprints)
    assert any("by fingerprint" in line for line in console.said)


def test_keys_from_the_mirror_that_are_not_pinned_do_not_count(
    open_it: Any, signed: Any, debs: Any, tars: Any, tmp_path: Path
) -> None:
    signed.publish(keyring_deb(signed, debs, tars))
    with pytest.raises(SourceError, match="none of the keys that build-os trusts"):
        open_it(trust=Trust({"a" * 40: None}, (tmp_path / "absent",)))


def test_a_mirror_without_a_keyring_package_is_no_help(open_it: Any, signed: Any, debs: Any, tmp_path: Path) -> None:
    signed.publish(debs("a"))
    with pytest.raises(SourceError, match="trixie has no debian-archive-keyring"):
        open_it(trust=Trust(signed.trust.fingerprints, (tmp_path / "absent",)))


@pytest.mark.parametrize(
    ("codename", "signs", "counts"),
    [
        ("trixie", Signs(("trixie",)), True),
        ("trixie-updates", Signs(("trixie",)), True),
        ("trixie", Signs(("bookworm",)), False),
        ("trixie-security", Signs(("bookworm",), security=True), False),
        ("trixie-security", Signs(("trixie",)), False),
        ("trixie", Signs(("trixie",), security=True), False),
        ("trixie-security", Signs(("bookworm", "trixie"), security=True), True),
    ],
    ids=str,
)
def test_the_keys_of_one_release_do_not_sign_another(
    open_it: Any, signed: Any, debs: Any, codename: str, signs: Signs, counts: bool
) -> None:
    signed.publish(debs("a"), suite=codename)
    (fingerprint,) = signed.trust.fingerprints
    trust = Trust({fingerprint: signs}, signed.trust.keyrings)
    if counts:
        assert open_it(codename, trust=trust).get("a")
    else:
        with pytest.raises(SourceError, match=f"no key that may sign {codename} signed it") as caught:
            open_it(codename, trust=trust)
        assert fingerprint.upper() in str(caught.value)


def test_each_of_debians_suites_has_keys_of_its_own_and_shares_them_with_none() -> None:
    suites = ("bookworm", "bookworm-security", "trixie", "trixie-security")
    keys = {suite: Trust().list_signers(suite) for suite in suites}
    assert [len(found) for found in keys.values()] == [2, 1, 2, 1]
    assert len(frozenset().union(*keys.values())) == 6
    assert Trust().list_signers("trixie-updates") == Trust().list_signers("forky") == keys["trixie"]
    assert Trust().list_signers("bullseye") == Trust().list_signers("") == frozenset()


def test_the_pinned_keys_are_full_fingerprints() -> None:
    from builder.debian.trust import DEBIAN_FINGERPRINTS

    assert len(DEBIAN_FINGERPRINTS) == 6
    assert all(len(f) == 40 and f == f.lower() and int(f, 16) for f in DEBIAN_FINGERPRINTS)
