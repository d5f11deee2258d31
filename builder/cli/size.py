"""Say what takes room in an image that is built: by package, directory and kind, and against another.

  build-os size
  build-os size --json > before.json
  build-os size --against before.json      what a change has added, a feature or a package
  build-os size --html out/size.html       a map, as one HTML file

Without --against, it is compared with the build before, if the store still has its tree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_definition, add_out, require_definition
from builder.core.console import Console
from builder.core.errors import InputError

if TYPE_CHECKING:
    from builder.report.sizes import Sizes

HELP = "say what takes room in an image"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_definition(parser)
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, with every package")
    parser.add_argument("--html", type=Path, metavar="FILE", help="draw it, as one HTML file")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with what --json printed then")
    parser.add_argument("--all", action="store_true", help="every row, not the largest alone")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the tables."""
    from builder.build.last_build import find_built_tree
    from builder.core.files import write_file
    from builder.core.store import Store
    from builder.outputs.manifest import FILE, read_manifest
    from builder.report.page import make_size_page
    from builder.report.sizes import SHOWN, encode_sizes, format_sizes, measure_sizes

    path = require_definition(args.definition)
    store = Store.open()
    data = read_manifest(args.out / FILE)
    tree = find_built_tree(store, path)
    if data is None or tree is None:
        raise InputError(
            f"{path} is not built into {args.out}, or not kept any more",
            hint="'build-os build' builds it; without a key, since a build that signs leaves nothing in the store",
        )
    artifacts = {artifact["path"]: artifact["size"] for artifact in data["artifacts"].values()}
    sizes = measure_sizes(tree, dict(sorted(artifacts.items(), key=lambda row: -row[1])))
    before = None
    if args.against is not None:
        before = read_sizes(args.against)
    elif (earlier := find_built_tree(store, path, earlier=True)) is not None:
        before = measure_sizes(earlier, {})
    if args.html is not None:
        write_file(args.html, make_size_page(f"{data['name']} {data['version']}", sizes, before, tree))
        console.note(f"wrote {args.html}")
    shown = 10**6 if args.all else SHOWN
    text = encode_sizes(sizes) if args.json else "\n".join(format_sizes(sizes, before, shown)) + "\n"
    sys.stdout.write(text)
    return 0


def read_sizes(path: Path) -> Sizes:
    """What was printed of another image.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    from builder.report.sizes import decode_sizes

    try:
        return decode_sizes(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot compare with {path}: {error}") from error
