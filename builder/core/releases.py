"""Debian's releases, as far as we have keys for them (:mod:`builder.debian.trust`)."""

from __future__ import annotations

BOOKWORM = ("bookworm",)
# What has no keys of its own yet is signed by those of the newest release.
TRIXIE = ("trixie", "forky", "duke", "sid")
# Names that stand for one of them at a time.
ALIASES = ("oldstable", "stable", "testing", "unstable")
SUITES = (*TRIXIE, *BOOKWORM, *ALIASES)
