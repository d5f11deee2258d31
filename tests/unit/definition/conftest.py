"""A directory to write a definition into, with shipped parts of its own so that the real ones may change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from builder.core.architecture import Arch
from builder.core.errors import InputError
from builder.definition.load import Loaded, load

REFUSED = Path(__file__).parent / "refused"


@dataclass(frozen=True)
class Project:
    """A user's directory, which is also the working directory."""

    root: Path

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"))
        return path

    def load(self, text: str) -> Loaded:
        """Write ``text`` as os.yaml and load it, on a machine of type amd64."""
        self.write("os.yaml", text)
        return load(Path("os.yaml"), arch=Arch.AMD64, shipped=self.root / "shipped")

    def refusal(self, text: str) -> str:
        """Why ``text`` is refused."""
        with pytest.raises(InputError) as caught:
            self.load(text)
        assert caught.value.exit_code == 2
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REFUSED / "shipped", tmp_path / "shipped")
    return Project(tmp_path)


@pytest.fixture
def copied(project: Project) -> Callable[[str], Project]:
    """Copy one of the folders in refused/ into the project."""

    def copy(name: str) -> Project:
        shutil.copytree(REFUSED / name, project.root, dirs_exist_ok=True)
        (project.root / "expected.txt").unlink(missing_ok=True)
        return project

    return copy
