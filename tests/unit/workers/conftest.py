"""Matrices to send to workers."""

from __future__ import annotations

from tests.unit.matrix.conftest import make_matrix

__all__ = ["make_matrix"]
