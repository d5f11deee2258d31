"""Signed Release files: authentic, current, and the ones that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pysequoia
import pytest

from builder.debian.release import (
    Freshness,
    Release,
    ReleaseError,
    parse_release,
    read_release,
    read_unverified_content,
)
from builder.debian.trust import Trust

pytestmark = pytest.mark.unit
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def read(signed: Any) -> Callable[..., Release]:
    """Reads the signed archive's suite ``trixie``."""

    def go(suite: str = "trixie", *, data: bytes | None = None, **freshness: Any) -> Release:
        freshness.setdefault("now", NOW + timedelta(hours=1))
        content = signed.files[f"dists/{suite}/InRelease"] if data is None else data
        return read_release(content, suite, signed.trust, signed.trust.read_certificates(), Freshness(**freshness))

    return go


def test_a_signed_release_is_read(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish(valid_until=NOW + timedelta(days=7))
    release = read()
    assert (release.suite, release.codename, release.components) == ("trixie", "trixie", ("main",))
    assert release.date_text == "2026-05-01T12:00:00Z"
    assert release.valid_until == NOW + timedelta(days=7)
    assert set(release.files) == {"main/binary-amd64/Packages", "main/binary-amd64/Packages.xz"}
    assert release.signers == (signed.key.extract_certificate().fingerprint,)
    assert release.by_hash


def test_a_suite_may_be_asked_for_by_its_other_name(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish(suite="stable", codename="trixie")
    assert read("stable").codename == "trixie"


def test_a_changed_text_is_refused(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish()
    data = signed.files["dists/trixie/InRelease"].replace(b"Origin: Test", b"Origin: Best")
    with pytest.raises(ReleaseError, match="not authentic") as caught:
        read(data=data)
    assert caught.value.exit_code == 6


def test_another_s_signature_is_refused_and_its_key_is_named(signed: Any, read: Callable[..., Release]) -> None:
    stranger = pysequoia.Tsk.generate("Stranger <s@example.org>")
    signed.publish(signer=stranger)
    with pytest.raises(
        ReleaseError, match=r"none of its signatures is good and by a trusted key \(it names [0-9A-F]{40}"
    ):
        read()


def test_a_key_in_the_keyring_that_is_not_pinned_is_no_help(signed: Any, tmp_path: Any) -> None:
    stranger = pysequoia.Tsk.generate("Stranger <s@example.org>")
    keyring = tmp_path / "both.pgp"
    keyring.write_bytes(bytes(stranger.extract_certificate()) + bytes(signed.key.extract_certificate()))
    trust = Trust({signed.key.extract_certificate().fingerprint: None}, (keyring,))
    assert [c.fingerprint for c in trust.read_certificates()] == [signed.key.extract_certificate().fingerprint]
    signed.publish(signer=stranger)
    certificates = [stranger.extract_certificate()]  # even if somebody handed it in
    with pytest.raises(ReleaseError, match="not signed by a trusted key"):
        read_release(signed.files["dists/trixie/InRelease"], "trixie", trust, certificates, Freshness(NOW))


@pytest.mark.parametrize(
    "data", [b"", b"Origin: Test\nSuite: stable\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"\0"]
)
def test_an_unsigned_text_is_refused(read: Callable[..., Release], data: bytes) -> None:
    with pytest.raises(ReleaseError, match="it is not signed"):
        read(data=data)


def test_text_around_the_signed_part_is_not_read(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish()
    data = b"Codename: evil\n" + signed.files["dists/trixie/InRelease"] + b"\nCodename: evil\n"
    assert read(data=data).codename == "trixie"


def test_another_release_in_its_place_is_refused(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish(suite="bookworm")
    signed.files["dists/trixie/InRelease"] = signed.files["dists/bookworm/InRelease"]
    with pytest.raises(ReleaseError, match="asked for trixie, the mirror sent bookworm or stable") as caught:
        read()
    assert "replacing" in str(caught.value.hint)


def test_an_expired_release_is_refused_unless_that_was_asked_for(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish(valid_until=NOW + timedelta(days=7))
    late = NOW + timedelta(days=8)
    with pytest.raises(ReleaseError, match="expired on 2026-05-08 12:00 UTC") as caught:
        read(now=late)
    assert "check_valid_until: false" in str(caught.value.hint)
    assert read(now=late, check_valid_until=False).suite == "trixie"


def test_a_release_from_the_future_is_refused(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish()
    assert read(now=NOW - timedelta(hours=12)).suite == "trixie"  # clocks differ
    with pytest.raises(ReleaseError, match="in the future") as caught:
        read(now=NOW - timedelta(days=2))
    assert "clock" in str(caught.value.hint)


def test_a_release_older_than_the_lock_s_is_refused(signed: Any, read: Callable[..., Release]) -> None:
    signed.publish()
    assert read(not_before=NOW).date == NOW
    with pytest.raises(ReleaseError, match="older than the one locked before"):
        read(not_before=NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("old", "new"),
    [("Codename: trixie\n", ""), ("Date: Fri, 01 May 2026", "Date: never"), ("SHA256:", "MD5Sum:"),
     ("SHA256:\n", "SHA256:\n nothing\n"), ("Origin: Test", "Origin Test"),
     ("Date: Fri, 01 May 2026", "Date: Fri, 01 May 99999")],
)  # fmt: skip
def test_a_malformed_release_is_refused(signed: Any, read: Callable[..., Release], old: str, new: str) -> None:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    signed.publish(change=change)
    with pytest.raises(ReleaseError, match="the index of trixie cannot be read"):
        read()


def test_the_content_can_be_had_unverified_to_find_the_keys(signed: Any) -> None:
    signed.publish(change=lambda text: text.replace("Origin: Test", "Origin: Test\nX: y\n - dash"))
    content = read_unverified_content(signed.files["dists/trixie/InRelease"])
    assert parse_release(content, "trixie").codename == "trixie"
    assert b" - dash" in content
    with pytest.raises(ReleaseError, match="not signed"):
        read_unverified_content(b"Origin: Test\n")
