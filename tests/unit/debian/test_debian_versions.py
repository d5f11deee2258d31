"""Versions, stanzas and relations."""

from __future__ import annotations

from itertools import pairwise

import pytest

from builder.debian.control import ControlError, Relation, is_package_name, parse_relations, parse_stanza
from builder.debian.version import is_satisfied, is_version, make_version_key

pytestmark = pytest.mark.unit

# Each line in ascending order; from Policy 5.6.12, deb-version(7) and dpkg's own test suite.
ASCENDING = [
    ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b", "1.0.1"],
    ["1.0~beta1~svn1245", "1.0~beta1", "1.0"],
    ["2.41", "2.41-12", "2.41-12+deb13u5", "2.42~rc1"],
    ["9", "10", "1:0.1", "1:1", "2:0"],
    ["1.2.3-1", "1.2.3-1+b1", "1.2.3-1+b2", "1.2.3-1.1", "1.2.3-2"],
    ["0.9.1-2~bpo1", "0.9.1-2"],
    ["5.3.28+dfsg2-9", "5.3.28+dfsg2-10"],
    ["2.4+20151223.gitfa8646d.1-2+b5", "2.4+20151223.gitfa8646d.1-3"],
    ["1a", "1aa", "1b"],
    ["1-1-1", "1-2-1"],
]


@pytest.mark.parametrize("versions", ASCENDING)
def test_versions_sort_as_dpkg_sorts_them(versions: list[str]) -> None:
    assert sorted(set(versions), key=make_version_key) == versions
    for earlier, later in pairwise(versions):
        assert make_version_key(earlier) < make_version_key(later)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.01", "1.1"), ("1a0", "1a")])
def test_versions_that_are_written_differently_can_be_equal(one: str, other: str) -> None:
    assert make_version_key(one) == make_version_key(other)


def test_a_version_without_revision_is_not_any_revision() -> None:
    # libsolv's own comparison thinks otherwise.
    assert is_satisfied("2.41-12", ">>", "2.41")
    assert not is_satisfied("2.41-12", "=", "2.41")
    assert not is_satisfied("2.41-12", "<=", "2.41")


@pytest.mark.parametrize("text", ["", "a b", "1.0\n", "-1", "1_0", "1" * 301, "9999999999:1", "é"])
def test_what_is_no_version_is_refused(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(ValueError, match="not a Debian version"):
        make_version_key(text)


def test_a_stanza_keeps_continuation_lines() -> None:
    fields = parse_stanza("Package: x\nDescription: short\n long\n .\n longer\nTag: a,\n b\n")
    assert fields == {"Package": "x", "Description": "short\n long\n .\n longer", "Tag": "a,\n b"}


@pytest.mark.parametrize(
    "text",
    ["Package x", "Package: x\n\nVersion: 1", " starts with a space", "A: 1\nA: 2", "A: 1\nÄ: 2", ": x"],
)
def test_what_is_no_stanza_is_refused(text: str) -> None:
    with pytest.raises(ControlError):
        parse_stanza(text)


def test_an_empty_text_has_no_fields() -> None:
    assert parse_stanza("") == {}


def test_relations_have_groups_alternatives_versions_and_qualifiers() -> None:
    groups = parse_relations("libc6 (>= 2.41), python3:any (<< 3.14) | pypy3,\n awk, x [amd64] , y(=1:2)")
    assert groups == (
        (Relation("libc6", ">=", "2.41"),),
        (Relation("python3", "<<", "3.14", "any"), Relation("pypy3")),
        (Relation("awk"),),
        (Relation("x"),),
        (Relation("y", "=", "1:2"),),
    )
    assert str(groups[1][0]) == "python3:any (<< 3.14)"


def test_the_obsolete_operators_include_equality() -> None:
    assert parse_relations("a (< 1), b (> 1)") == ((Relation("a", "<=", "1"),), (Relation("b", ">=", "1"),))


@pytest.mark.parametrize(
    "text", ["a b", "a (>= )", "a (~ 1)", "a | ", "| a", "a (>= 1", "$(rm)", "a (= b c)", "a (= ?)"]
)
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ControlError):
        parse_relations(text)


@pytest.mark.parametrize(("name", "good"), [("libc6", True), ("g++", True), ("0ad", True), ("-x", False), ("A", False)])
def test_package_names(name: str, good: bool) -> None:
    assert is_package_name(name) is good
