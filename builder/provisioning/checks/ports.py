"""Ports that two of the machine's own programs would listen on: sockets, containers, sshd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from builder.definition.ports import Publish, parse_publish
from builder.definition.scalars import NotAccepted
from builder.provisioning.checks.configured_image import ConfiguredImage
from builder.provisioning.checks.own_texts import UnitText
from firstboot.config.text import Problem

SSHD = ("ssh.service", "sshd.service")
SSHD_CONFIG = "/etc/ssh/sshd_config"
_LISTEN = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<port>[0-9]{1,5})")
_ANY = ("0.0.0.0", "[::]", "[::0]")


class Listener(NamedTuple):
    """A setting of a unit that makes something listen."""

    unit: UnitText
    setting: str
    port: Publish

    @property
    def name(self) -> str:
        """The unit's."""
        return self.unit.name


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """A warning for each port of the config that is taken."""
    listeners = [*_of_image(image)]
    for listener in _of_config(image):
        for other in listeners:
            if other.name != listener.name and other.port.has_conflict_with(listener.port):
                whose = "of the image" if other.unit.at is None else "of this config"
                hint = "give one of them another port, or disable or mask the other"
                message = f"port {listener.port.host}/{listener.port.protocol} is what {other.name} {whose} takes"
                yield listener.unit.make_warning(listener.setting, str(listener.port.host), message, hint)
                break
        listeners.append(listener)


def _of_image(image: ConfiguredImage) -> Iterator[Listener]:
    for unit in image.image_units:
        started = unit.name in image.started or _is_quadlet(unit.name)
        if started and unit.name not in _masked(image):
            yield from _listeners(unit)
    if any(name in image.started for name in SSHD):
        for port in _sshd_ports(image):
            yield Listener(UnitText("sshd", None, "", ()), "Port", Publish(port, port))


def _of_config(image: ConfiguredImage) -> Iterator[Listener]:
    for unit in image.own_units:
        if unit.name in image.started or _is_quadlet(unit.name):
            yield from _listeners(unit)


def _masked(image: ConfiguredImage) -> set[str]:
    return {unit.name for unit in image.config.systemd.units if unit.mask}


def _is_quadlet(name: str) -> bool:
    return name.endswith((".container", ".pod", ".kube"))


def _listeners(unit: UnitText) -> Iterator[Listener]:
    for name, value in unit.list_values("Socket", "ListenStream", "ListenDatagram"):
        match = _LISTEN.fullmatch(value)
        if match is not None:
            address = None if match["address"] in (None, *_ANY) else match["address"]
            port = int(match["port"])
            yield Listener(unit, name, Publish(port, port, "udp" if name == "ListenDatagram" else "tcp", address))
    for section in ("Container", "Pod", "Kube"):
        for name, value in unit.list_values(section, "PublishPort"):
            try:
                yield Listener(unit, name, parse_publish(value))
            except NotAccepted:  # podman accepts more: ranges, ports of its own choice
                continue


def _sshd_ports(image: ConfiguredImage) -> list[int]:
    """Those of sshd_config(5); 22 if it names none."""
    texts = [text for path, text in image.root.facts.texts.items() if path.startswith(SSHD_CONFIG)]
    words = [line.split() for text in texts for line in text.splitlines()]
    ports = [int(line[1]) for line in words if len(line) == 2 and line[0].lower() == "port" and line[1].isdigit()]
    return ports or [22]
