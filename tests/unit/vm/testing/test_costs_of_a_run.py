"""What a run has cost is said once, however many processes it was in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from vm.machine.counts import Counts
from vm.testing.records import COUNTS_OF_WORKER, Results

pytestmark = pytest.mark.unit


def test_what_workers_have_cost_is_not_counted_again_as_their_controllers_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path)
    for boots, seconds in ((3, 40.0), (2, 30.5)):
        output = {COUNTS_OF_WORKER: asdict(Counts(boots, 0, seconds))}
        results.pytest_testnodedown(SimpleNamespace(workeroutput=output))
    # Both have ended, so the kernel counts them to whoever started them.
    monkeypatch.setattr(Counts, "measure", classmethod(lambda cls: cls(0, 0, 70.5)))
    assert results.compute_costs() == Counts(5, 0, 70.5)
