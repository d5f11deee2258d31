"""Decisions about maintainer scripts as a lock and a bill of materials say them: in one line, and without secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from builder.debian.lock import LockedDecision
from builder.debian.scripts.decisions import Decision, DeclaredEffect


def make_locked_decisions(decisions: Mapping[str, Mapping[str, Decision]]) -> tuple[LockedDecision, ...]:
    """The decisions of each group of packages (``image``, ``container:NAME``), by package."""
    return tuple(
        LockedDecision(group, package, decision.answer, _why(decision))
        for group, of_group in sorted(decisions.items())
        for package, decision in sorted(of_group.items())
    )


def _why(decision: Decision) -> str:
    words = "; ".join(map(_effect, decision.effects)) or " ".join(decision.reason.split())
    return "".join(letter for letter in words if letter.isprintable())


def _effect(effect: DeclaredEffect) -> str:
    """An effect in words. What is in a file is named by its hash: it may not be for everybody who reads the lock."""
    words = [effect.kind, effect.name]
    if effect.kind == "file":
        words.append(f"sha256 {hashlib.sha256(effect.text.encode()).hexdigest()}")
    if effect.kind == "link":
        words.append(f"-> {effect.target}")
    if effect.kind == "user":
        words.append(f"home {effect.home} shell {effect.shell}")
    if effect.mode is not None:
        words.append(f"mode {effect.mode:04o}")
    if effect.owner:
        words.append(f"owner {effect.owner}")
    return " ".join(words)
