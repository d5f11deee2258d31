"""What all sugar that becomes a service has in common."""

from __future__ import annotations

import re
from typing import Protocol

from firstboot.config.buildos.sugar_output import SugarOutput
from firstboot.config.buildos.unit_writing import is_name, is_unit
from firstboot.config.text import Path

RESTARTS = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")  # systemd.service(5)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_SIZE = re.compile(r"[0-9]+[KMGT]?")


class Service(Protocol):
    """What is checked here."""

    @property
    def name(self) -> str: ...
    @property
    def restart(self) -> str | None: ...
    @property
    def after(self) -> tuple[str, ...]: ...
    @property
    def requires(self) -> tuple[str, ...]: ...
    @property
    def memory_max(self) -> str | None: ...


def check_service(service: Service, at: Path, output: SugarOutput) -> None:
    """Name, restart, order and memory."""
    check_name(service.name, at, output)
    if service.restart is not None and service.restart not in RESTARTS:
        output.complain((*at, "restart"), f"'{service.restart}' is not one of {', '.join(RESTARTS)}")
    check_units(service.after, (*at, "after"), output)
    check_units(service.requires, (*at, "requires"), output)
    if service.memory_max is not None and not is_size(service.memory_max):
        output.complain((*at, "memory_max"), f"'{service.memory_max}' is not a size", "like 512M")


def check_name(name: str, at: Path, output: SugarOutput) -> None:
    """The name of a service, without its suffix."""
    if not is_name(name):
        hint = "letters, digits, - _ : and ."
        what = f"'{name}' cannot be the name of a service" if name else "a name is required"
        output.complain((*at, "name"), what, hint)


def check_units(names: tuple[str, ...], at: Path, output: SugarOutput) -> None:
    """Names of units to wait for."""
    for index, name in enumerate(names):
        if not is_unit(name):
            output.complain((*at, index), f"'{name}' is not the name of a unit", "like app.service")


def is_duration(text: str) -> bool:
    """Whether Podman reads it as a time (Go's ParseDuration)."""
    return _DURATION.fullmatch(text) is not None


def is_size(text: str) -> bool:
    """Whether systemd reads it as a number of bytes."""
    return _SIZE.fullmatch(text) is not None
