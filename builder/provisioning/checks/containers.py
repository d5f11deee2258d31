"""What a config gives containers that they should not have: Docker's API on TCP, ``privileged``, the host's network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builder.definition.container_risks import (
    ENGINE_FILES,
    can_start_containers,
    find_owner,
    list_engine_risks,
    list_unit_risks,
)
from builder.provisioning.checks.own_texts import ProblemInText, find_text, list_systemd_units, make_warning
from firstboot.config.models import Config
from firstboot.config.quadlets import DIRECTORIES as QUADLETS
from firstboot.config.text import Problem

if TYPE_CHECKING:
    from builder.provisioning.checks.configured_image import ConfiguredImage

OF_USERS = tuple(f"{directory}users/" for directory in QUADLETS)
UNITS = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/")


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """The same, of a config and an image."""
    return list_risks(image.config)


def list_risks(config: Config) -> Iterator[ProblemInText]:
    """The warnings that the files of a definition get, about the units and files of a config."""
    for unit in list_systemd_units(config):
        assert unit.at is not None
        for line, message, hint in list_unit_risks(unit.name, unit.text):
            yield make_warning(unit.at, unit.text, line, f"{unit.name}: {message}", hint)
    for index, file in enumerate(config.storage.files):
        name = find_unit(file.path)
        if name is None and file.path.removeprefix("/") not in ENGINE_FILES:
            continue
        text = find_text(file) or ""
        risks = list_unit_risks(name, text) if name else list_engine_risks(PurePosixPath(file.path), text)
        prefix = f"{name}: " if name else ""
        for line, message, hint in risks:
            yield make_warning(("storage", "files", index, "contents"), text, line, f"{prefix}{message}", hint)


def find_unit(path: str) -> str | None:
    """The unit or quadlet that a file is, or is a drop-in of; ``None`` if it can start no container as root."""
    if not path.startswith((*UNITS, *QUADLETS)) or path.startswith(OF_USERS):
        return None
    owner = find_owner(PurePosixPath(path))
    return owner if can_start_containers(owner) else None
