"""A machine in a directory: a root to write to, and programs that are only recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from firstboot.apply.action import Machine
from firstboot.apply.programs import ProgramError, Programs
from firstboot.apply.root import Root
from tests.support.outside import answer, authority, outside, resource  # noqa: F401 - fixtures

IS_ROOT = os.geteuid() == 0


class FakePrograms(Programs):
    """Records what would be started. ``useradd`` and ``groupadd`` leave the lines that others look for."""

    etc: Path
    calls: list[tuple[str, ...]]
    failing: set[str]
    enabled: set[str]

    @classmethod
    def below(cls, root: Path) -> FakePrograms:
        programs = cls()
        programs.etc = root / "etc"
        programs.calls = []
        programs.failing = set()
        programs.enabled = set()
        return programs

    def find(self, name: str) -> str | None:
        return f"/fake/{name}"

    def run(self, argv: Sequence[str]) -> str:
        status, output = self.run_for_status(argv)
        if status:
            raise ProgramError(f"{argv[0]} failed with status {status}", output.splitlines())
        return output

    def run_for_status(self, argv: Sequence[str]) -> tuple[int, str]:
        self.calls.append(tuple(argv))
        if argv[0] in self.failing:
            return 9, "it went wrong\n"
        if argv[0] == "systemctl" and "is-enabled" in argv:
            return (0, "enabled") if argv[-1] in self.enabled else (1, "disabled")
        if argv[0] == "useradd":
            home = argv[argv.index("--home-dir") + 1] if "--home-dir" in argv else f"/home/{argv[-1]}"
            with (self.etc / "passwd").open("a", encoding="utf-8") as file:
                file.write(f"{argv[-1]}:x:1000:1000::{home}:/bin/sh\n")
        if argv[0] == "groupadd":
            with (self.etc / "group").open("a", encoding="utf-8") as file:
                file.write(f"{argv[-1]}:x:1000:\n")
        return 0, ""

    def commands(self) -> list[str]:
        """What was started, without the root it was started for."""
        shown = []
        for argv in self.calls:
            words = list(argv)
            if "--root" in words:
                at = words.index("--root")
                del words[at : at + 2]
            shown.append(" ".join(word for word in words if not word.startswith("--root=")))
        return shown


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty root, mode 0755 whatever the umask."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    return root


@pytest.fixture
def accounts(tree: Path) -> Path:
    """A root with the accounts that every image has."""
    etc = tree / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n")
    (etc / "group").write_text("root:x:0:\ndaemon:x:1:\nsudo:x:27:\n")
    return tree


@pytest.fixture
def programs(tree: Path) -> FakePrograms:
    """Programs of the machine in ``tree``."""
    return FakePrograms.below(tree)


@pytest.fixture
def machine(tree: Path, programs: FakePrograms) -> Iterator[Machine]:
    """The machine in ``tree``."""
    with Root(tree) as root:
        yield Machine(root, programs)
