"""Rows of passwd, group and their like."""

from __future__ import annotations

import pytest

from firstboot.config.account_files import (
    add_member,
    find_name,
    find_row,
    format_rows,
    list_groups,
    list_members,
    parse_rows,
    remove_member,
)

pytestmark = pytest.mark.unit

GROUP = "root:x:0:\nadm:x:4:syslog,core\nshort:x\nsudo:x:27:core\n"


def test_a_file_that_is_read_is_written_as_it_was() -> None:
    assert format_rows(parse_rows(GROUP)) == GROUP


def test_names_numbers_and_members_are_found() -> None:
    rows = parse_rows(GROUP)
    assert find_row(rows, "sudo") == ["sudo", "x", "27", "core"]
    assert find_row(rows, "nobody") is None
    assert [find_name(rows, number) for number in (0, 4, 5)] == ["root", "adm", None]
    assert list_groups(rows, "core") == ["adm", "sudo"]
    assert [list_members(row) for row in rows] == [[], ["syslog", "core"], [], ["core"]]


def test_a_member_is_put_in_once_and_taken_out() -> None:
    root, adm, short, _ = parse_rows(GROUP)
    assert add_member(root, "core")
    assert not add_member(root, "core")
    assert not add_member(short, "core"), "a row without the field is left as it is"
    remove_member(adm, "syslog")
    remove_member(short, "syslog")
    assert format_rows([root, adm, short]) == "root:x:0:core\nadm:x:4:core\nshort:x\n"
