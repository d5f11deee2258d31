"""Where the processor seconds of a cold build go: parts of build-os itself, and each program that it runs.

They are counted by the kernel, so that what else the machine does is in them a little and not as a whole; the picture
has them behind each other, however much was done at the same time.

``python -m tests.bench.build_profile DEFINITION OUT`` is the build that is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from builder.core import enter
from builder.core.console import PlainConsole
from builder.core.spans import Span
from builder.report.page import make_picture
from tests.bench.measuring import measured, prepare_store

OURS = "build-os: "
# The steps after which a part of ours has ended. Within each of them nothing of ours runs beside it but its own.
PARTS = {
    "packages": "imports, definition, lock, plan",  # where it begins
    "unpack packages": "xz and reading of debs",
    "": "scripts, records and indexes of packages",  # where packages end
    "seal": "stages after packages",
}
REST = "outputs: hashes, copies, bill of materials"


def measure(work: Path, definition: Path, out: Path) -> None:
    """Build it cold, print what took how long, and draw it into ``out``."""
    environment = {**os.environ, "BUILD_OS_CACHE": str(prepare_store(work))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    target = work / "out"
    measured([sys.executable, "-m", "builder", "build", definition, "-o", target], environment)  # downloads, tools
    measured([sys.executable, "-m", "builder", "cache", "clear", "--stages"], environment)
    command = [sys.executable, "-m", "tests.bench.build_profile", str(definition), str(target)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    spent: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    total = sum(spent.values())
    print(f"a cold build of {definition.name}: {total:.1f} CPU s")
    for name, seconds in spent.items():
        print(f"  {name:<52} {seconds:6.2f} CPU s  {100 * seconds / total:3.0f} %")
    out.mkdir(parents=True, exist_ok=True)
    picture = out / "build.svg"
    picture.write_text(make_picture(list(list_spans(spent))), encoding="utf-8")
    print(f"  {picture}", flush=True)


def list_spans(spent: Mapping[str, float]) -> Iterator[Span]:
    """One behind the other."""
    begun, total = 0.0, sum(spent.values())
    for name, seconds in spent.items():
        title = f"{name}: {100 * seconds / total:.0f} %"
        yield Span(title, (), begun, begun + seconds)
        begun += seconds


class Account:
    """Who had the processor: this process by its parts, and the programs that it waited for."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.programs: Counter[str] = Counter()
        self._since = 0.0  # all that this process had since its start is the first part's

    def end_part(self, name: str) -> None:
        """What this process has had since the last one."""
        now = time.process_time()
        self.own[OURS + name] += now - self._since
        self._since = now

    def wait(self, process: subprocess.Popen[bytes], flags: int) -> tuple[int, int]:
        """In place of ``Popen._try_wait``: the same, with what the program and its children have had."""
        try:
            pid, status, usage = os.wait4(process.pid, flags)
        except ChildProcessError:
            return process.pid, 0
        if pid == process.pid:
            self.programs[name_program([str(word) for word in process.args])] += usage.ru_utime + usage.ru_stime
        return pid, status


def name_program(argv: list[str]) -> str:
    """Behind the launcher, its options and the tools tree."""
    behind = argv[argv.index(enter.__file__) + 1 :] if enter.__file__ in argv else argv
    words = [word for word in behind if not word.startswith("--")]
    return Path(words[1] if len(words) > 1 else words[0]).name


def build(definition: str, out: str) -> None:
    """The measured build; prints seconds by name."""
    from builder.cli.main import main

    account, open_step = Account(), PlainConsole.open_step

    @contextmanager
    def account_step(console: PlainConsole, title: str) -> Iterator[None]:
        if title == "packages":
            account.end_part(PARTS[title])
        with open_step(console, title):
            yield
        if title in PARTS:
            account.end_part(PARTS["" if title == "packages" else title])

    def wait(process: subprocess.Popen[bytes], flags: int) -> tuple[int, int]:
        return account.wait(process, flags)

    subprocess.Popen._try_wait = wait
    PlainConsole.open_step = account_step
    try:
        main(["build", definition, "-o", out, "--progress", "plain"])
    except SystemExit as end:
        if end.code:
            raise
    account.end_part(REST)
    print(json.dumps(dict(account.own) | dict(account.programs.most_common())))


if __name__ == "__main__":
    build(*sys.argv[1:])
