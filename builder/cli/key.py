"""Make keys: for Secure Boot DIR/secure-boot.key, which signs, and DIR/secure-boot.crt, which firmware is given.

Keep the key where only builds that are released can read it; whoever has it can sign whatever these machines start.

  build-os key                         into the directory 'keys'
  build-os key ~/keys
  build-os build --sign-key ~/keys/secure-boot.key --sign-certificate ~/keys/secure-boot.crt

Or for updates: the keys that 'build-os publish' signs with, and DIR/root.json, which machines have.

  build-os key update-keys --for updates
  build-os key update-keys --for updates --root-keys 3 --threshold 2
  build-os key update-keys --for updates --rotate targets
  build-os key update-keys --for updates --renew
  build-os key update-keys --for updates --public targets=targets.pem     that key is in a token
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from builder.cli.common import add_definition, require_definition
from builder.core.console import Console

HELP = "make keys, for Secure Boot or for updates"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path("keys"), metavar="DIR", help="made if it is not there (keys)"
    )
    add_definition(parser)
    parser.add_argument("--name", help="who signs, for people who look (default: the definition's name)")
    parser.add_argument(
        "--for", dest="purpose", choices=("secure-boot", "updates"), default="secure-boot", help="(%(default)s)"
    )
    updates = parser.add_argument_group("for updates")
    updates.add_argument("--root-keys", type=int, default=1, metavar="N", help="how many keys the root has (1)")
    updates.add_argument("--threshold", type=int, default=1, metavar="N", help="how many of them must sign (1)")
    change = updates.add_mutually_exclusive_group()
    change.add_argument(
        "--rotate",
        action="append",
        choices=("root", "targets", "snapshot", "timestamp"),
        help="new keys for this role, in a new root.json, which the keys of the root before sign; may be repeated",
    )
    change.add_argument("--renew", action="store_true", help="a new root.json of the same keys, before it expires")
    updates.add_argument(
        "--public",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="the public key of one that is kept elsewhere, and not made: of root-1, targets, snapshot, timestamp",
    )
    updates.add_argument(
        "--sign-command",
        metavar="COMMAND",
        help="signs {file} for {role} with a root's key that is kept elsewhere, and writes the signature",
    )
    updates.add_argument("--dev", action="store_true", help="mark them as made to try things out")


def run(args: argparse.Namespace, console: Console) -> int:
    """Make them; print the paths."""
    return _make_for_updates(args, console) if args.purpose == "updates" else _make_for_secure_boot(args, console)


def _make_for_updates(args: argparse.Namespace, console: Console) -> int:
    from builder.publishing.keys import make_update_keys
    from builder.publishing.rotation import replace_root
    from builder.publishing.signing_command import parse_signing_command

    elsewhere = dict(_parse_public(text) for text in args.public)
    command = None if args.sign_command is None else parse_signing_command(args.sign_command)
    if args.rotate or args.renew:
        paths = replace_root(args.directory, args.rotate or (), int(time.time()), elsewhere, command)
        console.note("publish it: 'build-os publish DIR --keys KEYS --refresh'; machines follow by themselves")
        sys.stdout.write("".join(f"{path}\n" for path in paths))
        return 0
    paths = make_update_keys(
        args.directory,
        root_keys=args.root_keys,
        threshold=args.threshold,
        development=args.dev,
        elsewhere=elsewhere,
        command=command,
        now=int(time.time()),
    )
    console.note(f"give machines {paths[-1]}; keep the keys of the root elsewhere, nothing is published with them")
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0


def _parse_public(text: str) -> tuple[str, Path]:
    from builder.core.errors import InputError

    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise InputError(f"--public: '{text}' is no name and file", hint="write it like targets=targets.pem")
    return name, Path(path)


def _make_for_secure_boot(args: argparse.Namespace, console: Console) -> int:
    """By the definition's tools."""
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
