"""What several packages of unit tests need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.core.console import QuietConsole
from builder.core.tools import Tools


@dataclass(frozen=True)
class FakeTools(Tools):
    """Does what ``programs`` has for a name, and fails for any other; writes down what it was asked."""

    programs: dict[str, Callable[..., str]] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        binds: Sequence[tuple[Path, str]] = (),
        pass_fds: Sequence[int] = (),
    ) -> str:
        self.calls.append([str(word) for word in command])
        words = [str(word) for word in command[1:]]
        for source, inside in binds:  # what a program sees at a path of its own is, for a fake, where it is
            words = [word.replace(inside, str(source)) for word in words]
        return self.programs[str(command[0])](*words)


@pytest.fixture
def fake_tools(tmp_path: Path) -> FakeTools:
    """A tools tree without a program; a test puts functions into its ``programs``."""
    return FakeTools(tmp_path / "tools", QuietConsole())
