"""docs/python.md, read by somebody new: its files written, its commands typed, and a service that answers."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.boot, pytest.mark.slow]  # a lock, a build and a boot of its own

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SECTION = "## From a requirements.txt to a service"


class Reader:
    """Somebody with the page, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        text = PAGE.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
        self.blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])

    def write_files(self) -> None:
        for _, text in self.blocks:
            first, _, body = text.partition("\n")
            if first.startswith("# file: "):
                path = self.directory / first.removeprefix("# file: ")
                path.parent.mkdir(exist_ok=True)
                path.write_text(body, encoding="utf-8")

    def list_commands(self) -> list[str]:
        (commands,) = (text for language, text in self.blocks if language == "sh")
        return commands.splitlines()

    def type(self, line: str) -> str:
        """Type a line; what it said. The port of the page may be taken on this computer: another one is."""
        line = line.replace("-p 8080:", f"-p {self.port}:").replace("localhost:8080", f"localhost:{self.port}")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_DATA_HOME": str(self.directory / "data"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
        }
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.type("build-os machine list --json | grep -q '\"name\"' && build-os machine stop || true")


def test_the_pages_commands_lead_to_a_service_that_answers(reader: Reader) -> None:
    reader.write_files()
    answers = 0
    for line in reader.list_commands():
        said = reader.type(line)
        command, _, expected = line.partition("#")
        if command.startswith("curl"):
            assert said.strip() == expected.strip()
            answers += 1
        if "systemctl status" in command:
            assert "active (running)" in said
    assert answers == 1
