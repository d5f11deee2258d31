"""What a config gives containers that they should not have: Docker's API on TCP, ``privileged``, the host's network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.definition.container_risks import ENGINE_FILES, list_engine_risks, list_unit_risks
from builder.provisioning.checks.configured_image import ConfiguredImage, find_text, make_warning
from firstboot.config.text import Problem


def check(image: ConfiguredImage) -> Iterator[Problem]:
    """The warnings that the files of a definition get, about the units and files of a config."""
    for unit in image.own_units:
        assert unit.at is not None
        for line, message, hint in list_unit_risks(unit.name, unit.text):
            yield make_warning(unit.at, unit.text, line, f"{unit.name}: {message}", hint)
    for index, file in enumerate(image.config.storage.files):
        if file.path.removeprefix("/") in ENGINE_FILES:
            text = find_text(file) or ""
            for line, message, hint in list_engine_risks(Path(file.path), text):
                yield make_warning(("storage", "files", index, "contents"), text, line, message, hint)
