"""The table of commands, put together of one table a subject."""

from __future__ import annotations

from collections import Counter

import pytest

from builder.debian.scripts.filters import make_filters
from builder.debian.scripts.table import TABLES
from tests.support.filters import COMMANDS, FILTERS

pytestmark = pytest.mark.unit


def test_no_command_has_two_models() -> None:
    assert [
        name
        for name, count in Counter(name for table in (*TABLES, make_filters(FILTERS)) for name in table).items()
        if count > 1
    ] == []


def test_what_is_known_of_a_command_is_that_of_its_subject() -> None:
    assert COMMANDS["test"].accepts_unknown
    assert COMMANDS["[["].matches_patterns
    assert COMMANDS["chmod"].is_common_name
    assert not COMMANDS["useradd"].accepts_unknown
