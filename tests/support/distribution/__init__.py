"""Checks of our client against any registry, by the four categories of the distribution-spec's conformance tests.

Each check is a function of a :class:`Ground` and has a repository of its own. What a registry need not be able to do,
``Ground`` says of it.
"""

from __future__ import annotations

import pytest

from tests.support.distribution import discovering, managing, pulling, pushing  # noqa: F401 - each adds its checks
from tests.support.distribution.ground import BIG, CHECKS, Check, Ground, image_of, make_ground

LIST = [
    pytest.param(function, id=f"{category}-{function.__name__}") for category in CHECKS for function in CHECKS[category]
]

__all__ = ["BIG", "CHECKS", "LIST", "Check", "Ground", "image_of", "make_ground"]
