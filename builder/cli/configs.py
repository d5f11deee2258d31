"""First-boot configs on the host: checked before a machine is started with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.errors import InputError
from builder.provisioning.build_comparison import draw_warnings

if TYPE_CHECKING:
    from builder.provisioning.values import Values


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
        InputError: it cannot be read, or the machine would refuse it; shows every problem at its line.
    """
    from firstboot.config.text import LocatedError
    from firstboot.engine import compile as compiling

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read {path}: {reason}") from error
    if values is not None and values.are_given:
        compiled = _compile(path, values)
        if compiled is not None:
            return compiled
    try:
        loaded = compiling.load(text, str(path))
    except LocatedError as error:
        compiled = _compile(path, values)
        if compiled is None:
            raise InputError(str(error).rstrip()) from error
        return compiled
    return CheckedConfig(text, draw_warnings(loaded.warnings))


def _compile(path: Path, values: Values | None) -> CheckedConfig | None:
    """The config with the files beside it in it; ``None`` if a machine would not accept that either.

    Raises:
        InputError: it is wrong whatever machine it is for.
    """
    from builder.provisioning.reading import read_document, require_usable
    from builder.provisioning.values import NO_VALUES, require_declared
    from firstboot.config.text import LocatedError
    from firstboot.engine import compile as compiling

    given = NO_VALUES if values is None else values
    document = read_document(path, path.parent, given)
    require_declared(given, [document.located])
    warnings = require_usable(document, strict=False)
    text = json.dumps(document.compile())
    try:
        compiling.load(text, str(path))
    except LocatedError:
        return None
    return CheckedConfig(text, draw_warnings(warnings))
