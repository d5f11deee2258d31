"""What a machine's console has to say in a test run: that it waits, for example. pytest captures everything else."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

import pytest

from builder.core.console import QuietConsole


class TestConsole(QuietConsole):
    """Draws nothing but notes and warnings, which are on the terminal at once."""

    __test__ = False

    def __init__(self, config: pytest.Config) -> None:
        super().__init__()
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def note(self, text: str) -> None:
        super().note(text)
        self._tell(text)

    def warn(self, text: str) -> None:
        super().warn(text)
        self._tell(f"warning: {text}")

    def _tell(self, text: str) -> None:
        uncaptured: AbstractContextManager[object] = nullcontext()
        if self._capture is not None:
            uncaptured = self._capture.global_and_fixture_disabled()
        with uncaptured:
            sys.stderr.write(f"\nbuild-os: {text}\n")
            sys.stderr.flush()
