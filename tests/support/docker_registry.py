"""Debian's docker-registry, started from a tools tree on a port of its own on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.core.tools import Tools

START_SECONDS = 60.0


@dataclass(frozen=True)
class DockerRegistry:
    """Where it answers, and where it keeps things."""

    port: int
    root: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def run_docker_registry(tools: Tools, directory: Path, **more: Any) -> Iterator[DockerRegistry]:
    """A registry that allows deletion; ``more`` are further sections of its configuration, which may be JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = directory / "registry"
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}},
        **more,
        "http": {**more.get("http", {}), "addr": f"127.0.0.1:{port}"},
    }
    path = directory / "config.yml"
    path.write_text(json.dumps(config), encoding="utf-8")
    log = directory / "log"
    with log.open("wb") as out, tools.spawn("docker-registry", "serve", path, stdout=out, stderr=out) as process:
        _wait(process, port, log)
        yield DockerRegistry(port, root)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start: {log.read_text()}") from error
            time.sleep(0.05)
