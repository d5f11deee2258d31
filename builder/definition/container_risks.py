"""What a container may do to its machine, where a text gives it more than a container should have: warnings.

* the API of Docker on a TCP port without TLS: whoever reaches it is root;
* ``privileged``: the container is root of the machine;
* the host's network: it reaches what listens on loopback, and the platform's metadata service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from builder.core.once import remember_answer
from builder.definition.findings import make_line_error, shorten_path
from builder.definition.template import TEMPLATE_SUFFIX
from firstboot.config.located import LocatedError, Problem

MAX_BYTES = 1 << 20
"""No unit and no daemon.json is larger."""
DAEMON = "etc/docker/daemon.json"
_QUADLETS = (".container", ".pod", ".kube")
_TCP = re.compile(r"(?:^|[\s=\"'])-(?:H|-host)[\s=]*[\"']?tcp://")
_SOCKET = re.compile(r"ListenStream\s*=\s*(?!/)[^\s/]*[0-9]")
_RUNS = re.compile(r"\b(?:podman|docker)\b.*\brun\b")
_PRIVILEGED = re.compile(r"--privileged\b(?!=false)")
_HOST = re.compile(r"--net(?:work)?[=\s]+[\"']?host\b")

_NO_TLS = "the API of Docker on a TCP port without TLS makes whoever reaches it root"
_TLS = "leave it out, and use 'docker -H ssh://USER@MACHINE'; or set tlsverify, tlscacert, tlscert and tlskey"
_WHOLE = "a privileged container is root of the machine"
_LESS = "give it the capabilities and devices that it needs: AddCapability=, AddDevice="
_NETWORK = "a container in the host's network reaches what listens on loopback, and the platform's metadata service"
_PUBLISH = "publish its ports instead: PublishPort="


class Risk(NamedTuple):
    """A line of a text, counted from 1, what it does, and what to write instead."""

    line: int
    message: str
    hint: str


@remember_answer
def find_container_risks(directory: Path) -> tuple[LocatedError, ...]:
    """Warnings about the files of an overlay or of a directory of units."""
    return tuple(_check_files(directory))


def _check_files(directory: Path) -> Iterator[LocatedError]:
    for path in sorted(directory.rglob("*")):
        name = path.name.removesuffix(TEMPLATE_SUFFIX)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            continue
        owner = path.parent.name.removesuffix(".d") if name.endswith(".conf") else name
        if path.match(DAEMON) or can_start_containers(owner):
            text = path.read_text(encoding="utf-8", errors="replace")
            risks = list_daemon_risks(text) if path.match(DAEMON) else list_unit_risks(owner, text)
            for line, message, hint in risks:
                error = make_line_error(shorten_path(path), text, line, 1, message, hint)
                [problem] = error.problems
                yield LocatedError(error.located, [Problem(problem.path, message, hint, severity="warning")])


def can_start_containers(unit: str) -> bool:
    """Whether a unit or quadlet of this name is of a kind that can start containers."""
    return unit.endswith((*_QUADLETS, ".service", ".socket"))


def list_daemon_risks(text: str) -> Iterator[Risk]:
    """What is risky in a ``daemon.json`` of Docker; one that is no JSON is the daemon's to refuse."""
    try:
        settings = json.loads(text)
    except ValueError:
        return
    if not isinstance(settings, dict) or settings.get("tlsverify") is True:
        return
    hosts = settings.get("hosts", [])
    if any(str(host).startswith("tcp://") for host in hosts if isinstance(hosts, list)):
        yield Risk(1 + text[: max(0, text.find("tcp:"))].count("\n"), _NO_TLS, _TLS)


def list_unit_risks(unit: str, text: str) -> Iterator[Risk]:
    """What is risky in the text of a unit or quadlet, or of a drop-in of it."""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line.startswith(("#", ";")):
            continue
        name, _, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if (unit == "docker.socket" and _SOCKET.match(line)) or (
            unit == "docker.service" and _TCP.search(line) and "--tlsverify" not in line
        ):
            yield Risk(number, _NO_TLS, _TLS)
        elif unit.endswith(_QUADLETS):
            if _PRIVILEGED.search(line) and name in ("PodmanArgs", "GlobalArgs"):
                yield Risk(number, _WHOLE, _LESS)
            if (name == "Network" and value == "host") or (name == "PodmanArgs" and _HOST.search(line)):
                yield Risk(number, _NETWORK, _PUBLISH)
        elif _RUNS.search(line):
            if _PRIVILEGED.search(line):
                yield Risk(number, _WHOLE, "give it the capabilities and devices that it needs")
            if _HOST.search(line):
                yield Risk(number, _NETWORK, "publish its ports instead: --publish")
