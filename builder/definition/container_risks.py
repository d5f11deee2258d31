"""What a container may do to its machine, where a text gives it more than a container should have: warnings.

* the API of Docker on a TCP port without TLS: whoever reaches it is root;
* ``privileged``: the container is root of the machine;
* the host's network: it reaches what listens on loopback, and the platform's metadata service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from builder.core.once import remember_answer
from builder.definition.findings import make_line_error, shorten_path
from builder.definition.template import TEMPLATE_SUFFIX
from firstboot.config.located import LocatedError, Problem

MAX_BYTES = 1 << 20
"""No unit and no daemon.json is larger."""
DAEMON = "etc/docker/daemon.json"
# Debian's docker.service takes options from it.
DEFAULTS = "etc/default/docker"
ENGINE_FILES = (DAEMON, DEFAULTS)
_QUADLETS = (".container", ".pod", ".kube")
# An address without a scheme is one of TCP.
_ADDRESS = r"(?:tcp://|(?!\w+:/)[\w.:\[])"
_TCP = re.compile(rf"(?:^|[\s=\"'])-(?:H|-host)[\s=]*[\"']?{_ADDRESS}")
# What the engine's flags take for no.
_ON = r"\b(?!=[\"']?(?:0|f|F))"
_VERIFIES = re.compile(rf"--tlsverify{_ON}")
_SOCKET = re.compile(r"ListenStream\s*=\s*(?!/)[^\s/]*[0-9]")
_OF_DOCKER = re.compile(r"^\s*Service\s*=\s*docker\.service\s*$", re.MULTILINE)
_ENGINE = re.compile(r"\b(?:podman|docker|ctr)\b")
_RUNS = re.compile(r"\b(?:run|create)\b")
_PRIVILEGED = re.compile(rf"--privileged{_ON}")
_HOST = re.compile(rf"--net(?:work)?[=\s]+[\"']?host\b|--net-host{_ON}")

_NO_TLS = "the API of Docker on a TCP port without TLS makes whoever reaches it root"
_TLS = "leave it out, and use 'docker -H ssh://MACHINE'; or set tlsverify, tlscacert, tlscert and tlskey"
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
        owner = find_owner(path.with_name(name))
        of_engine = any(map(path.match, ENGINE_FILES))
        if of_engine or can_start_containers(owner):
            text = path.read_text(encoding="utf-8", errors="replace")
            risks = list_engine_risks(path, text) if of_engine else list_unit_risks(owner, text)
            for line, message, hint in risks:
                error = make_line_error(shorten_path(path), text, line, 1, message, hint)
                [problem] = error.problems
                yield LocatedError(error.located, [Problem(problem.path, message, hint, severity="warning")])


def find_owner(path: PurePath) -> str:
    """The unit or quadlet that a file is, or is a drop-in of; of a drop-in of a whole type, ``.service``."""
    if not path.name.endswith(".conf"):
        return path.name
    owner = path.parent.name.removesuffix(".d")
    return owner if "." in owner else f".{owner}"


def can_start_containers(unit: str) -> bool:
    """Whether a unit or quadlet of this name is of a kind that can start containers."""
    return unit.endswith((*_QUADLETS, ".service", ".socket"))


def list_engine_risks(path: PurePath, text: str) -> Iterator[Risk]:
    """What is risky in one of :data:`ENGINE_FILES`."""
    return _list_daemon_risks(text) if path.match(DAEMON) else list_unit_risks("docker.service", text)


def _list_daemon_risks(text: str) -> Iterator[Risk]:
    """What is risky in a ``daemon.json``; one that is no JSON is the daemon's to refuse."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(settings, dict) or settings.get("tlsverify") is True:
        return
    hosts = settings.get("hosts", [])
    host = next((str(host) for host in hosts if re.match(_ADDRESS, str(host))), "") if isinstance(hosts, list) else ""
    if host:
        yield Risk(1 + text[: max(0, text.find(host))].count("\n"), _NO_TLS, _TLS)


def list_unit_risks(unit: str, text: str) -> Iterator[Risk]:
    """What is risky in the text of a unit or quadlet, or of a drop-in of it."""
    for_docker = unit == "docker.socket" or (unit.endswith(".socket") and _OF_DOCKER.search(text) is not None)
    for number, line in _list_lines(text):
        name, _, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if (for_docker and _SOCKET.match(line)) or (
            unit == "docker.service" and _TCP.search(line) and not _VERIFIES.search(line)
        ):
            yield Risk(number, _NO_TLS, _TLS)
        elif unit.endswith(_QUADLETS):
            if _PRIVILEGED.search(line) and name in ("PodmanArgs", "GlobalArgs"):
                yield Risk(number, _WHOLE, _LESS)
            if (name == "Network" and value == "host") or (name == "PodmanArgs" and _HOST.search(line)):
                yield Risk(number, _NETWORK, _PUBLISH)
        elif (engine := _ENGINE.search(line)) and _RUNS.search(line, engine.end()):
            if _PRIVILEGED.search(line):
                yield Risk(number, _WHOLE, "give it the capabilities and devices that it needs")
            if _HOST.search(line):
                yield Risk(number, _NETWORK, "publish its ports instead: --publish")


def _list_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments; what a backslash continues is one line, with the number of its first."""
    first, begun = 0, ""
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        # A comment between two of them ends nothing (systemd.syntax(7)).
        if line.startswith(("#", ";")):
            continue
        first, begun = (first, f"{begun} {line}") if begun else (number, line)
        if line.endswith("\\"):
            begun = begun.removesuffix("\\")
            continue
        yield first, begun
        begun = ""
    if begun:
        yield first, begun
