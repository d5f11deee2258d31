"""The checks of tests/support/distribution/ against the registry of unit tests, with and without referrers."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.oci.registry.open import RegistryOptions
from tests.support.distribution import CHECKS, LIST, Check, make_ground
from tests.support.registry import RegistryServer

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("check", LIST)
def test_the_client_does_what_the_specification_says(
    registry: RegistryServer, options: RegistryOptions, tmp_path: Path, check: Check
) -> None:
    check(make_ground(registry.host, options, check, tmp_path))


@pytest.mark.parametrize("check", [check for name in ("discovery", "management") for check in CHECKS[name]])
def test_and_without_the_referrers_api(
    registry: RegistryServer, options: RegistryOptions, tmp_path: Path, check: Check
) -> None:
    registry.referrers_api = False
    check(make_ground(registry.host, options, check, tmp_path))


def test_there_are_sixty_checks_of_four_categories() -> None:
    assert len(LIST) >= 60
    assert all(len(CHECKS[category]) >= 9 for category in ("pull", "push", "discovery", "management"))
