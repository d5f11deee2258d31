"""Texts of units that stages write (systemd.syntax(7)), of sections and their settings."""

from __future__ import annotations

from collections.abc import Sequence

Section = list[tuple[str, str]]
"""Settings in their order; a key that begins with ``#`` makes a line of comment."""


def format_sections(sections: Sequence[tuple[str, Section]]) -> str:
    """The text of a unit; values are quoted already."""
    parts = []
    for name, settings in sections:
        lines = [f"{key} {value}" if key.startswith("#") else f"{key}={value}" for key, value in settings]
        parts.append("\n".join([f"[{name}]", *lines]) + "\n")
    return "\n".join(parts)
