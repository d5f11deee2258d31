"""``build-os dev``, as a person uses it: what is saved is in the machine; Enter brings a new image."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vm.waiting.deadline import SCALE_VARIABLE

# A build and two boots of its own.
pytestmark = [pytest.mark.boot, pytest.mark.slow]

DEFINITION = """\
name: mine
version: "1"
features: [base, ssh]
overlays: [mine]
units: [mine]
presets: {enable: [mine.service]}
"""
UNIT = "[Service]\nExecStart=/usr/bin/sleep %s\n[Install]\nWantedBy=multi-user.target\n"


class Session:
    """A running 'build-os dev', and what it says."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self.process, self.home = process, home
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.put(line.rstrip())

    def wait_for(self, text: str, seconds: float = 900) -> str:
        """The next line that has this text."""
        end = time.monotonic() + seconds * float(os.environ.get(SCALE_VARIABLE, "1"))
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{text!r} was not said:\n" + "\n".join(self.said)) from None
            self.said.append(line)
            if text in line:
                return line

    def ask(self, command: str) -> str:
        """What a command says in the machine."""
        words = [sys.executable, "-m", "builder", "ssh", "--root", "--", command]
        done = subprocess.run(
            words, cwd=self.home, env=environment(self.home), capture_output=True, text=True, check=False
        )
        return done.stdout.strip()


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "XDG_DATA_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home / "run")}


@contextmanager
def follow(home: Path) -> Iterator[Session]:
    command = [sys.executable, "-m", "builder", "dev", "--kernel", "--memory", "1024", "--progress", "plain"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=home, env=environment(home), **pipes) as process:  # type: ignore[call-overload] # its options
        try:
            yield Session(process, home)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(300)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_is_saved_is_in_the_machine_and_enter_brings_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "os.yaml", DEFINITION)
    write(tmp_path / "units/mine/mine.service", UNIT % "infinity")
    write(tmp_path / "overlays/mine/etc/mine.conf", "one\n")
    with follow(tmp_path) as session:
        session.wait_for("watching os.yaml")
        assert session.ask("systemctl is-active mine.service; cat /etc/mine.conf") == "active\none"

        write(tmp_path / "units/mine/mine.service", UNIT % "1d")
        session.wait_for("put: /run/systemd/system/mine.service")
        session.wait_for("done: systemctl try-restart mine.service")
        print("save to effect:", session.wait_for(" s"))
        assert "/usr/bin/sleep 1d" in session.ask("systemctl show --property=ExecStart mine.service")

        write(tmp_path / "overlays/mine/etc/mine.conf", "two\n")
        session.wait_for("put: /etc/mine.conf")
        assert session.ask("cat /etc/mine.conf") == "two"

        write(tmp_path / "os.yaml", DEFINITION + "kernel: {command_line: [mine=yes]}\n")
        session.wait_for("needs a new image: command_line changed")
        assert session.process.stdin is not None
        session.process.stdin.write("\n")
        session.process.stdin.flush()
        session.wait_for("mine-dev runs")
        assert "mine=yes" in session.ask("cat /proc/cmdline")
        assert session.ask("cat /etc/mine.conf") == "two"
    listed = subprocess.run(
        [sys.executable, "-m", "builder", "machine", "list", "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(listed.stdout) == []
