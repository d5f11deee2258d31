"""Put a first definition, a first-boot config and a boot test into a directory.

Nothing that exists is overwritten.

  build-os init
  build-os init ~/my-os --name my-os
  build-os init shop --template container-from-registry
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from builder.core.console import Console

HELP = "start a new operating system"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: here")
    parser.add_argument("--name", help="the image's name (default: the directory's)")
    parser.add_argument("--template", default="default", help="what to start from: default, container-from-registry")


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the files and list them."""
    from builder.definition.init import write_starter_files

    directory = args.directory.absolute()
    name = args.name or re.sub(r"[^a-z0-9-]+", "-", directory.name.lower()).strip("-") or "os"
    for path in write_starter_files(directory, name, template=args.template):
        sys.stdout.write(f"{path}\n")
    console.note("next: 'build-os build', then 'build-os run --config machines/first.yaml'")
    return 0
