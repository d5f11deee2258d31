"""First-boot configs on the host: checked before a machine is started with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.errors import ConfigError

if TYPE_CHECKING:
    from builder.machine.values import Values


@dataclass(frozen=True)
class CheckedConfig:
    """A first-boot config that a machine will accept.

    Attributes:
        text: as it is written; compiled if it names files beside it, which a machine has not.
        warnings: drawn.
    """

    text: str
    warnings: tuple[str, ...]


def read_config(path: Path, values: Values | None = None) -> CheckedConfig:
    """Read and check a first-boot config by the code that the machine will use.

    Local files and fragments are looked for in the config's own directory.

    Args:
        path: the config.
        values: of its variables and secrets.

    Raises:
        ConfigError: it cannot be read, or the machine would refuse it; shows every problem at its line.
    """
    from firstboot import config

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    if values is not None and values.are_given:
        compiled = _compile(path, values)
        if compiled is not None:
            return compiled
    try:
        loaded = config.load(text, str(path))
    except config.LocatedError as error:
        compiled = _compile(path, values)
        if compiled is None:
            raise ConfigError(str(error).rstrip()) from error
        return compiled
    return CheckedConfig(text, said(loaded.warnings))


def _compile(path: Path, values: Values | None) -> CheckedConfig | None:
    """The config with the files beside it in it; ``None`` if a machine would not accept that either.

    Raises:
        ConfigError: it is wrong whatever machine it is for.
    """
    from builder.machine.reading import read_document, require_usable
    from builder.machine.values import NO_VALUES, require_declared
    from firstboot import config

    given = NO_VALUES if values is None else values
    document = read_document(path, path.parent, given)
    require_declared(given, [document.located])
    warnings = require_usable(document, strict=False)
    text = json.dumps(document.compiled())
    try:
        config.load(text, str(path))
    except config.LocatedError:
        return None
    return CheckedConfig(text, said(warnings))


@dataclass(frozen=True)
class Against:
    """What came of a config and the image that it is for.

    Attributes:
        image: the image's name and version; empty if the config could not be compared with any.
        why_not: why it could not.
        warnings: drawn.
        notes: what could not be looked at.
    """

    image: str = ""
    why_not: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def against_image(path: Path, build_json: Path, values: Values | None = None) -> Against:
    """Compare a config with what a build says of its image, as :func:`builder.machine.meeting.meet` does.

    Raises:
        ConfigError: a machine of that image would refuse it; shows every problem at its line.
    """
    from builder.machine.image_facts import find_facts
    from builder.machine.meeting import meet
    from builder.machine.values import NO_VALUES
    from firstboot.config.origins import by_document

    if not build_json.exists():
        return Against(why_not=f"there is no {build_json}: 'build-os build' makes it")
    facts = find_facts(build_json)
    if facts is None:
        return Against(why_not=f"{build_json} has no facts of its image")
    meeting = meet(path, path.parent, facts, NO_VALUES if values is None else values)
    if meeting.has_errors:
        raise ConfigError("\n".join(str(each) for each in by_document(meeting.complaints)))
    return Against(f"{facts.name} {facts.version}", warnings=said(meeting.complaints), notes=meeting.notes)


def said(warnings: Iterable[object]) -> tuple[str, ...]:
    """Warnings as a console shows them, which says by itself that they are some."""
    return tuple(str(each).replace(": warning: ", ": ", 1) for each in warnings)
