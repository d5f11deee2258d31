"""What is wrong with a wheel, in one sentence."""

from __future__ import annotations

from builder.core.errors import SourceError


class WheelError(SourceError):
    """A wheel that is malformed, hostile, or not what its name says."""
