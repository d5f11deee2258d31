"""The world outside of a machine."""

from __future__ import annotations

from tests.support.outside import answer, authority, outside, resource

__all__ = ["answer", "authority", "outside", "resource"]
