"""What a user is told about a definition that cannot be built: one folder in, one text out.

REGENERATE=1 writes the texts anew; read the difference before committing it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.products.catalogue import SYSTEM_PRODUCTS

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

REFUSED = Path(__file__).parent / "refused"
CASES = sorted(path.parent.name for path in REFUSED.glob("*/os.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_every_problem_is_shown_under_its_line(case: str, copied: Callable[[str], Project]) -> None:
    project = copied(case)
    text = project.refusal(Path("os.yaml").read_text()) + "\n"
    assert str(project.root) not in text, "paths are shown as the user would type them"
    expected = REFUSED / case / "expected.txt"
    if "REGENERATE" in os.environ:
        expected.write_text(text)
    assert text == expected.read_text()


def test_an_unknown_output_is_answered_with_all_there_are(project: Project) -> None:
    text = project.refusal("name: web\nversion: 1.0.0\noutputs: [qcow3]\n")
    first, *_, hint = text.splitlines()
    assert first.startswith("os.yaml:3:11: expected ")
    assert first.split("'")[1::2] == list(SYSTEM_PRODUCTS)
    assert hint.strip() == "= did you mean 'qcow2'?"
