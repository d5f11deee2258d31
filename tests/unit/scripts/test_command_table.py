"""The table of commands, put together of one table a subject."""

from __future__ import annotations

from collections import Counter

import pytest

from builder.debian.scripts.table import TABLES, make_commands

pytestmark = pytest.mark.unit


def test_no_command_has_two_models() -> None:
    assert [name for name, count in Counter(name for table in TABLES for name in table).items() if count > 1] == []


def test_what_is_known_of_a_command_is_that_of_its_subject() -> None:
    commands = make_commands()
    assert commands["test"].accepts_unknown
    assert commands["[["].matches_patterns
    assert commands["chmod"].is_common_name
    assert not commands["useradd"].accepts_unknown
