"""What a container may do to its machine, where units and overlays give it more than a container should have: warnings.

* the API of Docker on a TCP port without TLS: whoever reaches it is root;
* ``privileged``: the container is root of the machine;
* the host's network: it reaches what listens on loopback, and the platform's metadata service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from builder.definition.findings import make_line_error, shorten_path
from builder.definition.template import TEMPLATE_SUFFIX
from firstboot.config.located import LocatedError, Problem

MAX_BYTES = 1 << 20
"""No unit and no daemon.json is larger."""
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


def find_container_risks(directory: Path) -> Iterator[LocatedError]:
    """Warnings about the files of an overlay or of a directory of units."""
    for path in sorted(directory.rglob("*")):
        name = path.name.removesuffix(TEMPLATE_SUFFIX)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            continue
        owner = path.parent.name.removesuffix(".d") if name.endswith(".conf") else name
        if path.match("etc/docker/daemon.json"):
            yield from _judge_daemon(path)
        elif owner.endswith((*_QUADLETS, ".service", ".socket")):
            yield from _judge_unit(path, owner)


def _judge_daemon(path: Path) -> Iterator[LocatedError]:
    text = _read(path)
    try:
        settings = json.loads(text)
    except ValueError:
        return
    if not isinstance(settings, dict) or settings.get("tlsverify") is True:
        return
    hosts = settings.get("hosts", [])
    if any(str(host).startswith("tcp://") for host in hosts if isinstance(hosts, list)):
        yield _warn(path, text, _find_line(text, "tcp://"), _NO_TLS, _TLS)


def _judge_unit(path: Path, owner: str) -> Iterator[LocatedError]:
    text = _read(path)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if not line.startswith(("#", ";"))]
    for number, line in lines:
        name, _, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if (owner == "docker.socket" and _SOCKET.match(line)) or (
            owner == "docker.service" and _TCP.search(line) and "--tlsverify" not in line
        ):
            yield _warn(path, text, number, _NO_TLS, _TLS)
        elif owner.endswith(_QUADLETS):
            if _PRIVILEGED.search(line) and name in ("PodmanArgs", "GlobalArgs"):
                yield _warn(path, text, number, _WHOLE, _LESS)
            if (name == "Network" and value == "host") or (name == "PodmanArgs" and _HOST.search(line)):
                yield _warn(path, text, number, _NETWORK, _PUBLISH)
        elif _RUNS.search(line):
            if _PRIVILEGED.search(line):
                yield _warn(path, text, number, _WHOLE, "give it the capabilities and devices that it needs")
            if _HOST.search(line):
                yield _warn(path, text, number, _NETWORK, "publish its ports instead: --publish")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _find_line(text: str, part: str) -> int:
    return 1 + text[: text.index(part)].count("\n")


def _warn(path: Path, text: str, line: int, message: str, hint: str) -> LocatedError:
    error = make_line_error(shorten_path(path), text, line, 1, message, hint)
    [problem] = error.problems
    return LocatedError(error.located, [Problem(problem.path, message, hint, severity="warning")])
