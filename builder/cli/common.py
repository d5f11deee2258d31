"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from builder.core.errors import ConfigError

DEFAULT_DEFINITION = "os.yaml"


def add_definition(parser: argparse.ArgumentParser) -> None:
    """The definition: a file, or ``os.yaml`` in this directory."""
    parser.add_argument(
        "definition",
        nargs="?",
        type=Path,
        default=Path(DEFAULT_DEFINITION),
        metavar="DEFINITION",
        help=f"the YAML file that describes the image (default: {DEFAULT_DEFINITION})",
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Where artifacts go."""
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("out"), metavar="DIR", help="for artifacts (default: out)"
    )


def require_definition(path: Path) -> Path:
    """The path, if it is there.

    Raises:
        ConfigError: it is not, with what to do.
    """
    if not path.is_file():
        hint = "'build-os init' makes one" if path == Path(DEFAULT_DEFINITION) else None
        raise ConfigError(f"there is no {path}", hint=hint)
    return path
