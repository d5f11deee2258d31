"""A QEMU that is only two ends of sockets: enough to test all that watches one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from vm.qemu.start import Connection
from vm.spec import VmSpec
from vm.spec.folder import MachineFolder

GREETING = {"QMP": {"version": {}, "capabilities": ["oob"]}}
USERNET = "  TCP[HOST_FORWARD]  11       127.0.0.1 35377       10.0.2.15    80     0     0\r\n"


class FakeProcess(subprocess.Popen[bytes]):
    """What is asked of a process, without one. The number is our own: it can be looked up in /proc."""

    def __init__(self) -> None:  # no process is started, so the class we pretend to be is not initialised
        self.pid = os.getpid()
        self.returncode: int | None = None
        self.killed = False

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode or 0

    def __del__(self, *args: object) -> None:
        """Nothing to reap."""


class FakeQemu:
    """The other end of a machine's wires; answers its monitor, and says what a test tells it to say."""

    def __init__(self) -> None:
        self.process = FakeProcess()
        self.specs: list[VmSpec] = []
        self.commands: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.answer: dict[str, Callable[[dict[str, Any]], object]] = {"unit": lambda _: {"properties": {}}}
        self.on_command: Callable[[str], None] = lambda _: None
        self.job_errors: dict[str, str] = {}
        self._jobs: dict[str, dict[str, str]] = {}
        self._boots = 0
        self._started_at = 0
        self._stack = ExitStack()

    def connect(self, spec: VmSpec, tools: object, folder: MachineFolder, stack: ExitStack, **_: object) -> Connection:
        """What :func:`vm.qemu.start.connect` does, without a process."""
        self.specs.append(spec)
        self._started_at = len(self.commands)
        self.process.returncode = None
        ours, theirs = zip(*(socket.socketpair() for _ in range(4)), strict=True)
        for sock in theirs:
            self._stack.callback(sock.close)
        self.serial, self.qmp, self.firstboot, self.probe = theirs
        for sock, serve in ((self.qmp, self._serve_monitor), (self.probe, self._serve_probe)):
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
        return Connection(self.process, *ours)

    def says(self, text: str) -> None:
        """On the serial line."""
        self.serial.sendall(text.encode())

    def reports(self, **message: object) -> None:
        """On the first boot's port."""
        self.firstboot.sendall(json.dumps(message).encode() + b"\n")

    def greets(self, boot_id: str | None = None) -> None:
        """The probe starts."""
        hello = {"hello": 1, "boot_id": boot_id or f"b{self._boots}", "monotonic": 3.5}
        self.probe.sendall(json.dumps(hello).encode() + b"\n")

    def greets_when_it_boots(self, command: str) -> None:
        """To be ``on_command``: the probe starts once after power-on, and not in a machine that was only woken up."""
        since = [each["execute"] for each in self.commands[self._started_at :]]
        if command == "cont" and since.count("cont") == 1 and "snapshot-load" not in since:
            self.greets()

    def happens(self, event: str) -> None:
        """On the monitor. After a reset, it is another boot."""
        self._boots += event == "RESET"
        self.qmp.sendall(json.dumps({"event": event, "data": {}}).encode() + b"\n")

    def ends(self, status: int) -> None:
        """The process is gone, and with it its ends of the wires."""
        self.process.returncode = status
        for sock in (self.serial, self.qmp, self.firstboot, self.probe):
            with suppress(OSError):  # the machine has hung up already
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Put everything away."""
        self._stack.close()

    def _serve_monitor(self, sock: socket.socket) -> None:
        _send(sock, GREETING)
        for request in _lines(sock):
            self.commands.append(request)
            name = request["execute"]
            line = request.get("arguments", {}).get("command-line", "")
            result: object = {"info usernet": USERNET, "": {"status": "running"}}.get(line, "")
            if name == "query-jobs":
                result = list(self._jobs.values())
            _send(sock, {"return": result, "id": request["id"]})
            self.on_command(name)
            if job := request.get("arguments", {}).get("job-id"):
                self._works_on(sock, job, name)
            if name == "quit":
                self.ends(0)
            if name == "system_reset":
                self.happens("RESET")

    def _works_on(self, sock: socket.socket, job: str, name: str) -> None:
        error = {"error": self.job_errors[name]} if name in self.job_errors else {}
        self._jobs[job] = {"id": job, "status": "concluded", **error}
        for status in ("created", "running", "concluded"):
            _send(sock, {"event": "JOB_STATUS_CHANGE", "data": {"id": job, "status": status}})

    def _serve_probe(self, sock: socket.socket) -> None:
        for request in _lines(sock):
            self.requests.append(request)
            answer = self.answer.get(request["op"], lambda _: {"error": "not here"})(request)
            if answer is None:  # it is gone before it could answer
                continue
            wrapped = answer if isinstance(answer, dict) and "error" in answer else {"ok": answer}
            _send(sock, {"id": request["id"], **wrapped})


def _lines(sock: socket.socket) -> Iterator[dict[str, Any]]:
    pending = b""
    while True:
        try:
            chunk = sock.recv(1 << 16)
        except OSError:
            return
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (json.loads(line) for line in lines)


def _send(sock: socket.socket, message: object) -> None:
    with suppress(OSError):  # the machine hung up
        sock.sendall(json.dumps(message).encode() + b"\n")


@pytest.fixture
def qemu() -> Iterator[FakeQemu]:
    """A QEMU to be."""
    fake = FakeQemu()
    yield fake
    fake.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, list[str]], None]:
    """Compare a command line with a file beside the test that has an option and its value on each line."""

    def compare(name: str, argv: list[str]) -> None:
        lines: list[str] = []
        for word in argv:
            if word.startswith("-") or not lines or " " in lines[-1]:
                lines.append(word)
            else:
                lines[-1] += f" {word}"
        path = request.path.parent / "golden" / f"{name}.txt"
        text = "\n".join(lines) + "\n"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"if this is meant, run with UPDATE_GOLDEN=1 and read {path}"

    return compare
