"""What this process has done with machines: how often one was switched on, woken up or put back."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Self


@dataclass
class Counts:
    """Counts up to now. ``boots`` with reboots; ``restores``: how often a machine went on from a snapshot."""

    boots: int = 0
    restores: int = 0
    cpu_seconds: float = 0.0

    @classmethod
    def measure(cls) -> Self:
        """As it stands; processor time is that of this process and of all it started that have ended (getrusage(2))."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(COUNTS.boots, COUNTS.restores, sum(usage.ru_utime + usage.ru_stime for usage in usages))

    def subtract(self, before: Counts) -> Counts:
        """What came in between."""
        spent = self.cpu_seconds - before.cpu_seconds
        return Counts(self.boots - before.boots, self.restores - before.restores, round(spent, 1))


COUNTS = Counts()
