"""What a handler is given: a tree, scripts, and tools that only do what a test has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder.core.sandbox import Sandbox
from builder.core.tools import Tools
from builder.debian.handlers.work import Work
from builder.tree.node import file
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in the sandbox is a function that a test has for it as well."""
    monkeypatch.setattr(Sandbox, "run", lambda self, *command, env, believes=True: self.tools.run(*command))
    monkeypatch.setattr(Sandbox, "give_files", lambda self: None)


@pytest.fixture
def work_on(tmp_path: Path, fake_tools: Tools) -> Callable[..., Work]:
    """``work_on({"/etc/passwd": "text"}, package="postinst")``: files, and one script for each package."""

    def make(files: Mapping[str, str], **postinst: str) -> Work:
        tree = Tree()
        for path, text in files.items():
            tree.put(path, file(text, origin="package:a"))
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        scripts = {name: {"postinst": text} for name, text in postinst.items()}
        return Work(tree, scripts, fake_tools, scratch, COMMANDS)

    return make
