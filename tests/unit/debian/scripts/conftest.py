"""Scripts that are evaluated over a few files, and what handlers are given: tools only do what a test has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.core.sandbox import Sandbox
from builder.core.tools import Tools
from builder.debian.scripts.effects import Evaluation
from builder.debian.scripts.evaluate import evaluate
from builder.debian.scripts.target_system import Installation
from builder.debian.scripts.work import Work
from builder.tree.node import Node, make_file, make_symlink
from builder.tree.tree import Tree
from tests.support.filters import COMMANDS

PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
GROUP = "root:x:0:\ndaemon:x:1:\nadm:x:4:\nnogroup:x:65534:\n"


@dataclass
class Outcome:
    """What became of a tree and what was found on the way."""

    tree: Tree
    found: list[Evaluation]

    @property
    def effects(self) -> list[str]:
        """Effects in words."""
        return [str(effect) for each in self.found for effect in each.effects]

    @property
    def unmodelled(self) -> list[tuple[int, str]]:
        """Lines that are not modelled, with the reason."""
        return [(line.first, line.reason) for each in self.found for line in each.unmodelled]

    def text(self, path: str) -> str:
        """A file's text."""
        return self.tree.read_text(path)


@pytest.fixture
def run() -> Callable[..., Outcome]:
    """``run("touch /x", {"/etc/a": "text"})``: a postinst that begins with ``set -e`` in its third line."""

    def make(
        body: str,
        files: Mapping[str, str | Node] | None = None,
        *,
        name: str = "postinst",
        templates: str = "",
        answers: Mapping[str, str] | None = None,
        shell: str = "sh",
    ) -> Outcome:
        tree = Tree()
        for path, content in {"/etc/passwd": PASSWD, "/etc/group": GROUP, **(files or {})}.items():
            node = make_file(content, origin="package:other") if isinstance(content, str) else content
            tree.put(path, node)
        for link in ("bin", "sbin", "lib"):
            tree.put(f"/{link}", make_symlink(f"usr/{link}", origin="package:base-files"))
        installation = Installation("amd64", {"other": "2.0-1", "dpkg": "1.22"}, answers or {})
        scripts = {name: f"#!/bin/{shell}\n{body}\n", **({"templates": templates} if templates else {})}
        return Outcome(tree, evaluate(tree, "mine", scripts, installation, COMMANDS))

    return make


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
            tree.put(path, make_file(text, origin="package:a"))
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        scripts = {name: {"postinst": text} for name, text in postinst.items()}
        return Work(tree, scripts, fake_tools, scratch, COMMANDS)

    return make
