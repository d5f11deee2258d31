"""What a stage is given: doors that are real but lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.store import Store
from builder.core.tools import Tools
from builder.stages.stage import Context


class Recorder(QuietConsole):
    """Remembers what the user would have been told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(f"warning: {text}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def context(tmp_path: Path, store: Store, fake_tools: Tools) -> Context:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Context(fake_tools, store, Recorder(), scratch)
