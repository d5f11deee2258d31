"""The image of docs/scale.md that has build-os in it: made by the commands of the page, for a project of git."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.users import REPOSITORY

PAGE = REPOSITORY / "docs" / "scale.md"
SECTION = "### A Job of Kubernetes, from nothing"
DATE = "2026-01-01T00:00:00Z"
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org")
PIP = f"{sys.executable} -m pip --quiet --disable-pip-version-check"


@dataclass(frozen=True)
class Project:
    """Somebody's repository, with a matrix and what they have typed of the page.

    Attributes:
        registry: the host that stands for the page's.
    """

    directory: Path
    registry: str = "registry.example"

    @property
    def section(self) -> str:
        return PAGE.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]

    def write(self, files: Mapping[str, str], more: str = "") -> None:
        """Put files, and the definition on the page with ``more`` at its end, into the repository."""
        (definition,) = re.findall(r"^```yaml fragment\n# file: builder\.yaml\n(.*?)^```$", self.section, re.M | re.S)
        for name, text in {**files, "builder.yaml": definition + more}.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self) -> None:
        """Have git know all there is; the same files make the same commit."""
        shutil.rmtree(self.directory / ".git", ignore_errors=True)
        environment = {**os.environ, "GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
        for words in (("init", "--quiet"), ("add", "."), (*IDENTITY, "commit", "--quiet", "--message", "first")):
            subprocess.run(["git", *words], cwd=self.directory, env=environment, check=True)

    def list_commands(self) -> list[str]:
        """The commands that come before those of a cluster."""
        (text,) = re.findall(r"^```sh\n(.*?)^```$", self.section, re.M | re.S)
        return text.replace("\\\n", " ").splitlines()

    def type(self, line: str) -> str:
        """Type a line; what it said. The wheel is of this checkout, and made of what is installed here."""
        if line.startswith("pip wheel "):
            line = line.replace("pip", PIP, 1).replace("--no-deps", "--no-deps --no-build-isolation")
            line = re.sub(r" build-os$", f" {REPOSITORY}", line)
        line = line.replace("registry.example/", f"{self.registry}/")
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def emit(self, *words: str) -> dict[str, object]:
        """The Job that ``build-os matrix emit kubernetes`` prints."""
        text = self.type(f"build-os matrix emit kubernetes {' '.join(words)}")
        document: dict[str, object] = yaml.safe_load(text)
        return document
