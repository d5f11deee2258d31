"""Check a definition, and first-boot configs, without building anything.

All problems are shown at once, each at its own line.

  build-os check
  build-os check --strict configs/demo.yaml --config configs/machines/demo.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from builder.cli.common import add_definition, require_definition
from builder.cli.values import add_values, values_of
from builder.core.console import Console
from builder.core.errors import ConfigError

HELP = "check a definition"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="also check a first-boot config",
    )
    add_values(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Load everything; say that it is fine."""
    from builder.cli.configs import read_config
    from builder.definition.load import kind_of, load, load_container

    path = require_definition(args.definition)
    loaded = load_container(path) if kind_of(path) == "container" else load(path)
    warnings = [*loaded.warnings]
    values = values_of(args)
    for config in args.config:
        warnings.extend(read_config(config, values).warnings)
        console.note(f"{config}: a machine would accept it")
    if warnings and args.strict:
        raise ConfigError("there are warnings", details=warnings)
    for warning in warnings:
        console.warn(warning)
    console.note(f"{path}: no problems" if not warnings else f"{path}: {len(warnings)} warnings")
    return 0
