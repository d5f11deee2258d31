"""``containers``: quadlets, which Podman makes services of (podman-systemd.unit(5))."""

from __future__ import annotations

import json
import re

from firstboot.config.buildos.common import check_service, is_duration
from firstboot.config.buildos.services import Container, ContainerHealth
from firstboot.config.buildos.staging import load_credentials
from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.unit_writing import format_command_line, format_one_line
from firstboot.config.butane.quadlets import ROOTFUL
from firstboot.config.text import Path
from firstboot.config.unit_text import is_lost_by_podman, quote_word

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_PORT = re.compile(
    r"(?:(?:\[[0-9A-Fa-f:]+\]|[0-9.]+):)?(?:[0-9]*(?:-[0-9]+)?:)?[0-9]+(?:-[0-9]+)?(?:/(?:tcp|udp|sctp))?"
)
_VOLUME = re.compile(r"(?:[^\s:\"'\\]+:)?/[^\s:\"'\\]*(?::[A-Za-z0-9_,=+-]+)?")
_WORD = re.compile(r"[A-Za-z0-9_.:/@,=+-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PULLS = ("always", "missing", "never", "newer")
_ON_FAILURE = ("none", "kill", "restart", "stop")


def make_containers(output: SugarOutput) -> None:
    """A quadlet for each."""
    for at, container in output.list_parts(Container, "containers"):
        before = output.complaints
        _check(container, at, output)
        text = _quadlet(container, at, output)
        if output.complaints == before and output.claim(f"{container.name}.service", at):
            output.add_file(f"{ROOTFUL}/{container.name}.container", text, at)


def _check(container: Container, at: Path, output: SugarOutput) -> None:
    check_service(container, at, output)
    if not _IMAGE.fullmatch(container.image):
        what = f"'{container.image}' is not the name of an image" if container.image else "an image is required"
        output.complain((*at, "image"), what, "like docker.io/library/nginx:1.27")
    for name, pattern, what in (
        ("ports", _PORT, "is not a port to publish: 8080:80"),
        ("volumes", _VOLUME, "is not a volume: /var/lib/app:/data"),
        ("networks", _WORD, "is not a network"),
        ("capabilities", _WORD, "is not a capability"),
        ("drop_capabilities", _WORD, "is not a capability"),
    ):
        for index, text in enumerate(getattr(container, name)):
            if not pattern.fullmatch(text):
                output.complain((*at, name, index), f"'{text}' {what}")
    for index, argument in enumerate(container.command):
        if is_lost_by_podman(argument):
            hint = "put the command into a script in the container"
            output.complain((*at, "command", index), f"'{argument}' cannot be handed to a container by its unit", hint)
    for index, path in enumerate(container.environment_files):
        output.is_path(path, (*at, "environment_files", index))
    for name in container.labels:
        if not _WORD.fullmatch(name):
            output.complain((*at, "labels", name), f"'{name}' cannot be the name of a label", on_key=True)
    for name in container.environment:
        if not _VARIABLE.fullmatch(name):
            output.complain((*at, "environment", name), f"'{name}' cannot be the name of a variable", on_key=True)
    if container.user is not None and not _WORD.fullmatch(container.user):
        output.complain((*at, "user"), f"'{container.user}' is not a user")
    if container.pull is not None and container.pull not in _PULLS:
        output.complain((*at, "pull"), f"'{container.pull}' is not one of {', '.join(_PULLS)}")
    _check_health(container.health, (*at, "health"), output)


def _check_health(health: ContainerHealth, at: Path, output: SugarOutput) -> None:
    if health == ContainerHealth():
        return
    if not health.command:
        output.complain(at, "a command is required", "like [curl, --fail, http://localhost/]")
    for name in ("interval", "timeout", "start_period"):
        text = getattr(health, name)
        if text is not None and not is_duration(text):
            output.complain((*at, name), f"'{text}' is not a time", "like 30s")
    if health.retries is not None and health.retries < 1:
        output.complain((*at, "retries"), "1 or more is required")
    if health.on_failure is not None and health.on_failure not in _ON_FAILURE:
        output.complain((*at, "on_failure"), f"'{health.on_failure}' is not one of {', '.join(_ON_FAILURE)}")


def _quadlet(container: Container, at: Path, output: SugarOutput) -> str:
    unit = [f"Description=Container {format_one_line(container.name)}"]
    unit += [f"{name}={' '.join(units)}" for name, units in _order(container) if units]
    own = [("ContainerName", container.name), ("Image", container.image), ("Pull", container.pull or "missing")]
    # Podman gives what it starts to systemd, which replaces % and $ once more.
    own += [("Exec", format_command_line(container.command))] if container.command else []
    own += [("Environment", _quote_pair(name, value)) for name, value in container.environment.items()]
    own += [("EnvironmentFile", path.replace("%", "%%")) for path in container.environment_files]
    own += [("PublishPort", port) for port in container.ports]
    own += [("Volume", volume.replace("%", "%%").replace("$", "$$")) for volume in container.volumes]
    own += [("Volume", f"%d/{name}:/run/secrets/{name}:ro") for name in container.credentials]
    own += [("Network", network) for network in container.networks]
    own += [("User", container.user)] if container.user is not None else []
    own += [("ReadOnly", "true")] if container.read_only else []
    own += [("AddCapability", capability) for capability in container.capabilities]
    own += [("DropCapability", capability) for capability in container.drop_capabilities]
    own += [("Label", _quote_pair(name, value)) for name, value in container.labels.items()]
    own += _health(container.health)
    # An image that is not there yet has to come over the network first.
    service = [("Restart", container.restart or "always"), ("TimeoutStartSec", "15min")]
    service += [("MemoryMax", container.memory_max)] if container.memory_max is not None else []
    service += load_credentials(container.credentials, (*at, "credentials"), output)
    lines = ["[Unit]", *unit, "", "[Container]", *(f"{name}={value}" for name, value in own)]
    lines += ["", "[Service]", *(f"{name}={value}" for name, value in service)]
    if container.enabled is not False:
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def _quote_pair(name: str, value: str) -> str:
    return quote_word(f"{name}={value}", command=True)


def _order(container: Container) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("Requires", container.requires), ("After", (*container.requires, *container.after)))


def _health(health: ContainerHealth) -> list[tuple[str, str]]:
    if not health.command:
        return []
    # A list of one would be given to a shell, which an image need not have; CMD before a longer one would be
    # taken for its first word (makeHealthCheckFromCli in Podman's pkg/specgenutil).
    alone = len(health.command) == 1 and health.command[0].split() == [*health.command]
    command = f"CMD {health.command[0]}" if alone else json.dumps(health.command, ensure_ascii=False)
    options = [("HealthCmd", command.replace("%", "%%").replace("$", "$$"))]
    for name, value in (
        ("HealthInterval", health.interval),
        ("HealthTimeout", health.timeout),
        ("HealthRetries", health.retries),
        ("HealthStartPeriod", health.start_period),
        ("HealthOnFailure", health.on_failure or "kill"),
    ):
        options += [] if value is None else [(name, str(value))]
    return options
