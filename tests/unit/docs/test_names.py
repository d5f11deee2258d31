"""Names promise something: CONTRIBUTING.md says what, and this, how many keep to it."""

from __future__ import annotations

import pytest

from tests.support.names import list_functions, list_without_verb

pytestmark = pytest.mark.unit

SHARE = 98  # per cent; it only rises


def test_public_functions_begin_with_a_verb() -> None:
    """``python -m tests.support.names`` lists those that do not."""
    functions = list_functions()
    without = list_without_verb(functions)
    assert 100 * (len(functions) - len(without)) // len(functions) >= SHARE
