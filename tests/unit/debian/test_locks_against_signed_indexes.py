"""A lock is proven by what was signed, and by nothing that a store or a person says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from builder.core.errors import SourceError
from builder.core.store import Store
from builder.debian.archive import PackageArchive, lock_package, open_archive, open_locked_archive
from builder.debian.index import Index, write_index
from builder.debian.lock import Lock
from builder.debian.mirror import Mirrors
from builder.debian.proof import Unproven, find_unproven
from builder.debian.release import Freshness
from builder.debian.transfer import Client
from builder.debian.trust import Signs, Trust
from tests.support.debs import stanza_text
from tests.support.mirror import NOW, SignedArchive

pytestmark = pytest.mark.unit

LATER = Freshness(NOW + timedelta(days=400))


class Host:
    """A machine with a store, and the archive of the test."""

    def __init__(self, signed: SignedArchive, mirrors: Mirrors, store: Store, console: Any, client: Client) -> None:
        self.signed, self.mirrors, self.store, self.console, self.client = signed, mirrors, store, console, client

    def today(self, freshness: Freshness = LATER) -> PackageArchive:
        return open_archive(
            self.mirrors, ("trixie",), "amd64", self.store, self.console, freshness,
            trust=self.signed.trust, client=self.client,
        )  # fmt: skip

    def lock(self, *names: str) -> Lock:
        archive = self.today()
        packages = tuple(lock_package(archive.get(name)[0]) for name in names)
        return Lock("0" * 64, "amd64", "trixie", archive.list_locked_releases(), packages, indexes=archive.sources)

    def then(self, lock: Lock, trust: Trust | None = None) -> PackageArchive:
        return open_locked_archive(
            lock.releases, lock.indexes, self.mirrors, "amd64", self.store, self.console, LATER,
            trust=trust or self.signed.trust, client=self.client,
        )  # fmt: skip

    def unproven(self, lock: Lock) -> list[Unproven]:
        return find_unproven(lock, [self.then(lock)], lambda: [self.today()])


@pytest.fixture
def host(signed: Any, mirrors: Mirrors, store: Store, console: Any, hasty: Client) -> Host:
    return Host(signed, mirrors, store, console, hasty)


def with_hash(lock: Lock, sha256: str) -> Lock:
    return replace(lock, packages=(replace(lock.packages[0], sha256=sha256), *lock.packages[1:]))


def test_a_lock_of_today_is_proven_by_its_own_indexes(host: Host, debs: Callable[..., Any]) -> None:
    host.signed.publish(debs("a"), debs("b"))
    lock = host.lock("a", "b")

    def asked() -> NoReturn:
        raise AssertionError("its own indexes are enough")

    assert find_unproven(lock, [host.then(lock)], asked) == []


def test_a_hash_that_nobody_signed_is_named_with_the_one_that_is(host: Host, debs: Callable[..., Any]) -> None:
    host.signed.publish(debs("a"), debs("b"))
    lock = host.lock("a", "b")
    (found,) = host.unproven(with_hash(lock, "f" * 64))
    assert found.groups == ("image",)
    assert found.signed == (lock.packages[0].sha256,)
    assert str(found).startswith(f"a 1.0-1 all (image): locked sha256 {'f' * 64}, signed sha256 ")


def test_an_old_lock_is_proven_by_the_signed_index_in_the_store(host: Host, debs: Callable[..., Any]) -> None:
    host.signed.publish(debs("a", "1.0"))
    lock = host.lock("a")
    host.signed.publish(debs("a", "2.0"), date=NOW + timedelta(days=1))
    assert host.unproven(lock) == []


def test_without_the_old_index_what_is_as_today_is_proven_and_the_rest_is_named(
    host: Host, debs: Callable[..., Any], tmp_path: Path
) -> None:
    host.signed.publish(debs("a", "1.0"), debs("b", "1.0"))
    lock = host.lock("a", "b")
    host.signed.publish(debs("a", "2.0"), debs("b", "1.0"), date=NOW + timedelta(days=1))
    host.store = Store.open(tmp_path / "elsewhere")
    (found,) = host.unproven(lock)
    assert str(found) == "a 1.0 all (image): in no signed index that can be had"


def test_a_list_that_somebody_put_into_the_store_deceives_a_lock_and_not_its_proof(
    host: Host, debs: Callable[..., Any], tmp_path: Path
) -> None:
    deb = debs("a")
    host.signed.publish(deb)
    honest = host.lock("a")
    (index,) = (host.store.root / "indexes").iterdir()
    write_index(stanza_text({**deb.stanza, "SHA256": "f" * 64}).encode(), index)
    assert Index(index, "trixie").get("a")
    deceived = host.lock("a")
    assert deceived.packages[0].sha256 == "f" * 64
    assert host.unproven(deceived) == []  # in a store that is believed
    host.store = host.store.make_store_apart(tmp_path / "apart")
    assert [found.signed for found in host.unproven(deceived)] == [(honest.packages[0].sha256,)]


def test_lists_that_the_locked_index_does_not_vouch_for_are_refused(host: Host, debs: Callable[..., Any]) -> None:
    host.signed.publish(debs("a"))
    lock = host.lock("a")
    forged = replace(lock, indexes=(replace(lock.indexes[0], sha256="f" * 64),))
    with pytest.raises(SourceError, match=r"does not vouch for the lock's list main/binary-amd64/Packages\.xz"):
        host.then(forged)


def test_a_locked_index_must_be_signed_by_who_may(host: Host, debs: Callable[..., Any]) -> None:
    host.signed.publish(debs("a"))
    lock = host.lock("a")
    (fingerprint,) = host.signed.trust.fingerprints
    with pytest.raises(SourceError, match="no key that may sign trixie signed it"):
        host.then(lock, Trust({fingerprint: Signs(("bookworm",))}, host.signed.trust.keyrings))
