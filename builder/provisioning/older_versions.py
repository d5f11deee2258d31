"""A config in terms of an older version of Ignition, if that can say all of it."""

from __future__ import annotations

import json
from typing import Any

from builder.core.errors import InputError
from firstboot.config.document import read
from firstboot.config.dump import dump, has_own
from firstboot.config.loaded import Document
from firstboot.config.models import Config
from firstboot.config.text import LocatedError, Problem
from firstboot.config.versions import NAMES, OWN_SUFFIX, format_version, translate

Version = tuple[int, int]
LOWEST = "lowest"


def convert_to_version(config: Config, choice: str) -> dict[str, Any]:
    """The config as plain data of a version.

    Args:
        config: of the newest version.
        choice: the version's name, or ``lowest`` for the first that can say all of it, experimental ones last.

    Raises:
        InputError: the chosen version cannot, no version can, or there is none of that name.
    """
    if choice == LOWEST:
        documents = (_in_version(config, version) for version in NAMES.values())
        lowest = next((data for data, document in documents if _says_all(config, document)), None)
        if lowest is None:
            raise InputError("no version of Ignition can say all of this")
        return lowest
    version = NAMES.get(choice)
    if version is None:
        raise InputError(f"there is no Ignition '{choice}'", hint=f"there are {', '.join(NAMES)}")
    data, document = _in_version(config, version)
    if not _says_all(config, document):
        raise InputError(
            f"Ignition {choice} cannot say all of this",
            details=str(LocatedError(document.located, _lost(config, document))).splitlines(),
            hint=f"--version {LOWEST} chooses the first version that can",
        )
    return data


def _in_version(config: Config, version: Version) -> tuple[dict[str, Any], Document]:
    """The config as if it were of another version, and what that version makes of it."""
    data = dump(config)
    # What only our own variant can say keeps every Ignition from passing over it.
    suffix = OWN_SUFFIX if has_own(config) else ""
    data["ignition"] = {**data.get("ignition", {}), "version": format_version(version) + suffix}
    return data, read(json.dumps(data, indent=2, ensure_ascii=False), f"in terms of {format_version(version)}")


def _says_all(config: Config, document: Document) -> bool:
    return document.config is not None and translate(document.config, document.version) == config


def _lost(config: Config, document: Document) -> list[Problem]:
    """What the version says about it that the newest does not."""
    newest = {problem.message for problem in _in_version(config, [*NAMES.values()][-1])[1].problems}
    return [problem for problem in document.problems if problem.message not in newest]
