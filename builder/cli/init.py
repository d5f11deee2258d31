"""Put a first definition, a first-boot config and a boot test into a directory.

Nothing that exists is overwritten.

  build-os init
  build-os init ~/my-os --name my-os
  build-os init shop --template container-from-registry
  build-os init os --template python-app --project .     of a project in Python that is here
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

from builder.core.console import Console

HELP = "start a new operating system"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "directory", nargs="?", type=Path, metavar="DIR", help="default: here; of a project in Python, 'os' in it"
    )
    parser.add_argument("--name", help="the image's name (default: the directory's)")
    parser.add_argument(
        "--template", default="default", help="what to start from: default, container-from-registry, python-app"
    )
    parser.add_argument(
        "--project", type=Path, metavar="DIR", help="with --template python-app: the project (default: here)"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the files and list them."""
    from builder.definition.init import PYTHON_APP, write_starter_files
    from builder.definition.python_project import read_python_project

    project = None
    directory = args.directory or Path()
    if args.template == PYTHON_APP or args.project is not None:
        place = args.project or Path()
        directory = args.directory or place / "os"
        project = read_python_project(place, directory)
    named = project.name if project is not None else directory.absolute().name
    name = args.name or re.sub(r"[^a-z0-9-]+", "-", named.lower()).strip("-") or "os"
    for path in write_starter_files(directory.absolute(), name, template=args.template, project=project):
        sys.stdout.write(f"{path}\n")
    there = f"cd {shlex.quote(str(directory))} && " if directory != Path() else ""
    console.note(f"next: '{there}build-os build', then 'build-os run --config machines/first.yaml'")
    return 0
