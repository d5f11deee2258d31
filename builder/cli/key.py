"""Make a key pair for Secure Boot: DIR/secure-boot.key, which signs, and DIR/secure-boot.crt, which firmware is given.

Keep the key where only builds that are released can read it; whoever has it can sign whatever these machines start.

  build-os key                         into the directory 'keys'
  build-os key ~/keys
  build-os build --sign-key ~/keys/secure-boot.key --sign-certificate ~/keys/secure-boot.crt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder.cli.common import add_definition, require_definition
from builder.core.console import Console

HELP = "make a key pair for Secure Boot"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path("keys"), metavar="DIR", help="made if it is not there (keys)"
    )
    add_definition(parser)
    parser.add_argument("--name", help="who signs, for people who look (default: the definition's name)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Make the pair with the definition's tools; print the paths."""
    from builder.build.inputs import fetch_missing_debs, open_build_tools, require_lock
    from builder.build.request import BuildRequest
    from builder.build.workspace import open_store
    from builder.core.store import Store
    from builder.locking import load_any
    from builder.outputs.signing import make_key_pair

    path = require_definition(args.definition)
    resolved = load_any(path)
    # By tools that nobody else has had in their hands.
    with open_store(BuildRequest(path, path.parent, Store.open(), console, no_cache=True)) as workspace:
        lock = require_lock(workspace, resolved)
        fetch_missing_debs(workspace, resolved, lock)
        tools = open_build_tools(workspace, resolved, lock)
        pair = make_key_pair(tools, args.directory, args.name or resolved.name)
    console.note(f"SHA-256 of the certificate: {pair.fingerprint}")
    sys.stdout.write(f"{pair.key}\n{pair.certificate}\n")
    return 0
