"""Before "nothing to do" is remembered, everything that decides it was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.build import system
from builder.core import seen
from builder.core.seen import Seen

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _nothing_is_seen_after_it() -> Iterator[None]:
    yield
    seen.pause()


def test_what_outputs_are_made_of_is_looked_at_although_a_stage_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(system, "make_system_key", lambda *_: (tmp_path / "initrd").read_text())
    (tmp_path / "initrd").write_text("key")
    plan: Any = SimpleNamespace(stages=[SimpleNamespace(run=True)])
    workspace: Any = SimpleNamespace(manifest=tmp_path / "build.json", request=None)
    looked_at = Seen()
    seen.start(looked_at)
    assert not system.is_up_to_date(workspace, None, None, plan)  # type: ignore[arg-type] # not looked at
    assert f"{tmp_path}/initrd" in looked_at.paths


@pytest.mark.parametrize("where", ["project", "project/out"])
def test_a_definition_in_the_directory_of_its_results_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    for name in ("is_usable", "is_current"):
        monkeypatch.setattr(system, name, lambda *_: True)
    request = SimpleNamespace(definition=tmp_path / "project/os.yaml", out=tmp_path / where)
    workspace: Any = SimpleNamespace(
        request=request, kept=SimpleNamespace(root=tmp_path / "store"), manifest=tmp_path / where / "build.json"
    )
    looked_at = Seen()
    system.look_at_results(looked_at, workspace, SimpleNamespace(key=""), SimpleNamespace(key=""))  # type: ignore[arg-type] # as it is asked
    assert looked_at.is_certain == (where == "project/out")
