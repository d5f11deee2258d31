"""Print the JSON Schema of definitions, for editors.

build-os schema > schema.json
build-os schema --matrix > matrix-schema.json
# in os.yaml:  # yaml-language-server: $schema=schema.json
"""

from __future__ import annotations

import argparse
import sys

from builder.core.console import Console

HELP = "print the JSON Schema of definitions"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("--matrix", action="store_true", help="that of matrix.yaml")


def run(args: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - the shape of all commands
    """Print it."""
    if args.matrix:
        from builder.matrix.schema import make_matrix_schema_text

        sys.stdout.write(make_matrix_schema_text())
        return 0
    from builder.definition.schema import make_schema_text

    sys.stdout.write(make_schema_text())
    return 0
