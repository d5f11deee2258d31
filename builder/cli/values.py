"""Arguments that give first-boot configs values for their variables and secrets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.provisioning.values import Values


def add_values(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    group = parser.add_argument_group("values of the config's variables and secrets")
    for option, name, help_ in (
        ("--set", "NAME=VALUE", "a variable's value; wins over the others"),
        ("--variables", "FILE", "a YAML file of names with values"),
        ("--env", "NAME", "a variable whose value is in the environment variable of its name"),
        ("--env-prefix", "PREFIX", "all variables that are in the environment as PREFIXname"),
        ("--secret", "NAME=FILE", "a secret, which is what the file holds"),
    ):
        kind = Path if name == "FILE" else str
        group.add_argument(option, action="append", default=[], type=kind, metavar=name, help=help_)


def read_values(args: argparse.Namespace) -> Values:
    """What was given.

    Raises:
        InputError: it cannot be used, whatever the config.
    """
    from builder.provisioning.values import read_values

    return read_values(args.variables, args.set, args.env, args.env_prefix, args.secret)
