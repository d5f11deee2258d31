"""The order of versions is systemd's."""

from __future__ import annotations

import itertools

import pytest

from update.versions import compare_versions, is_version, make_version_key

pytestmark = pytest.mark.unit

# UAPI.10, "Examples", the oldest first; and what systemd's own test of strverscmp_improved() has.
ORDERED = [
    ["~1", "", "1"],
    ["systemd-123", "systemd-124", "11"],
    ["123~rc1-1", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"],
    ["1~rc1", "1~rc2", "1", "1-1", "1^git", "1.0", "1.0.1", "1.1", "1.10"],
    ["2025.9", "2025.10", "2026.1~rc1", "2026.1"],
    ["9", "10", "99999999999999999999", "100000000000000000000"],
]


@pytest.mark.parametrize("versions", ORDERED)
def test_versions_are_in_the_order_of_the_specification(versions: list[str]) -> None:
    for (low, one), (high, other) in itertools.combinations(enumerate(versions), 2):
        assert low < high
        assert compare_versions(one, other) < 0, (one, other)
        assert compare_versions(other, one) > 0, (other, one)
    assert sorted(sorted(versions), key=make_version_key) == versions


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0"), ("1.0", "1.00"), ("007", "7"), ("1_2", "1,2"), ("", "")])
def test_versions_can_be_the_same(one: str, other: str) -> None:
    assert compare_versions(one, other) == compare_versions(other, one) == 0


@pytest.mark.parametrize("text", ["", "-1", "a/b", "..", "1+2", "1_2", "1 2", "x" * 51, "1\n", "\u0661"])
def test_what_can_be_no_version(text: str) -> None:
    assert not is_version(text)
