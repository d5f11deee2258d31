"""``state`` in a definition: what it brings, and what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.errors import InputError
from builder.definition.load import load
from builder.definition.state import Encryption

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
HEAD = 'name: a\nversion: "1"\n'


@pytest.mark.parametrize(
    ("said", "features"),
    [
        ("", set()),
        ("state: {encryption: none}\n", set()),
        ("state: {encryption: tpm2}\n", {"encrypted-state", "state-recovery-key"}),
        ("state: {encryption: tpm2, recovery_key: false}\n", {"encrypted-state"}),
    ],
)
def test_encryption_brings_what_it_needs(project: Project, said: str, features: set[str]) -> None:
    resolved = load(project.write("os.yaml", HEAD + said), shipped=ROOT).resolved
    assert {name for name in resolved.features if "state" in name} == features
    assert (resolved.state.encryption is Encryption.TPM2) == bool(features)
    assert ("libtss2-tcti-device0t64" in resolved.packages) == bool(features)


@pytest.mark.parametrize(
    ("said", "line", "words"),
    [
        ("features: [base, encrypted-state]\n", 3, "'encrypted-state' alone encrypts nothing"),
        ("features: [state-recovery-key]\n", 3, "'state-recovery-key' alone encrypts nothing"),
        ("state: {recovery_key: false}\n", 3, "nothing is encrypted"),
        ("state:\n  encryption: tpm\n", 4, "tpm2"),
        ("state:\n  key: x\n", 4, "key"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_line(project: Project, said: str, line: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(project.write("os.yaml", HEAD + said), shipped=ROOT)
    assert f"os.yaml:{line}:" in str(caught.value)
    assert words in str(caught.value)
