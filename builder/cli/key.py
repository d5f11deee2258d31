"""Make keys: for Secure Boot DIR/secure-boot.key, which signs, and DIR/secure-boot.crt, which firmware is given.

Keep the key where only builds that are released can read it; whoever has it can sign whatever these machines start.

  build-os key                         into the directory 'keys'
  build-os key ~/keys
  build-os key dev-keys --dev          marked as made to try things out
  build-os build --sign-key ~/keys/secure-boot.key --sign-certificate ~/keys/secure-boot.crt

Or tell firmware that trusts DIR/secure-boot.crt of other keys, and of images that it is to start no more. Machines with
the feature 'updates' take the file by 'os-update firmware-keys FILE'.

  build-os key keys --trust new/secure-boot.crt            writes keys/db.auth
  build-os key keys --revoke out/demo.efi                  writes keys/dbx.auth
  build-os key keys --revoke old/secure-boot.crt

Or for updates: the keys that 'build-os publish' signs with, and DIR/root.json, which machines have.

  build-os key update-keys --for updates
  build-os key update-keys --for updates --root-keys 3 --threshold 2
  build-os key update-keys --for updates --rotate targets
  build-os key update-keys --for updates --renew
  build-os key update-keys --for updates --public targets=targets.pem     that key is in a token

Or for a cache that machines share: DIR/cache.key signs what is put there, who has DIR/cache.pub uses it.

  build-os key keys --for cache
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from builder.cli.common import add_definition
from builder.core.console import Console

HELP = "make keys, for Secure Boot, for updates or for a shared cache"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path("keys"), metavar="DIR", help="made if it is not there (keys)"
    )
    add_definition(parser)
    parser.add_argument("--name", help="who signs, for people who look (default: the definition's name)")
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=("secure-boot", "updates", "cache"),
        default="secure-boot",
        help="(%(default)s)",
    )
    parser.add_argument("--dev", action="store_true", help="mark them as made to try things out: no release has them")
    firmware = parser.add_argument_group("for firmware that trusts the key")
    firmware.add_argument(
        "--trust", action="append", default=[], type=Path, metavar="FILE", help="a certificate that it trusts as well"
    )
    firmware.add_argument(
        "--revoke",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a kernel image or certificate of which it starts nothing any more; may be repeated",
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
        help="signs {file} for {role} with a key that is kept elsewhere, and writes the signature",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Make them; print the paths."""
    if args.purpose == "updates":
        return _make_for_updates(args, console)
    if args.purpose == "cache":
        return _make_for_cache(args.directory)
    return _change_firmware(args) if args.trust or args.revoke else _make_for_secure_boot(args, console)


def _make_for_updates(args: argparse.Namespace, console: Console) -> int:
    from builder.publishing.keys import make_update_keys
    from builder.publishing.rotation import replace_root
    from builder.signatures.signing_command import parse_signing_command

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


def _make_for_cache(directory: Path) -> int:
    """A pair whose private half signs what is put into a cache that machines share."""
    from builder.core.errors import InputError
    from builder.core.files import write_file
    from builder.signatures.pem import make_ed25519_pair

    private, public = directory / "cache.key", directory / "cache.pub"
    if private.exists():
        raise InputError(f"{private} is there already", hint="name another directory, or delete it")
    made = make_ed25519_pair()
    write_file(private, made[0], mode=0o600, durable=True)
    write_file(public, made[1], durable=True)
    _hide_from_git(private)
    sys.stdout.write(f"{private}\n{public}\n")
    return 0


def _hide_from_git(private: Path) -> None:
    """Have git leave a key alone, and with it all that takes a repository's files."""
    from builder.core.files import write_file

    ignored, line = private.with_name(".gitignore"), f"/{private.name}"
    text = ignored.read_text(encoding="utf-8") if ignored.exists() else ""
    if line not in text.splitlines():
        write_file(ignored, text + ("\n" if text and not text.endswith("\n") else "") + line + "\n")


def _make_for_secure_boot(args: argparse.Namespace, console: Console) -> int:
    from builder.outputs.signing import make_key_pair

    pair = make_key_pair(args.directory, args.name or _find_name(args.definition), development=args.dev)
    console.note(f"SHA-256 of the certificate: {pair.fingerprint}")
    if args.dev:
        console.note("they are marked: 'build-os build --release' refuses them")
    sys.stdout.write(f"{pair.key}\n{pair.certificate}\n")
    return 0


def _change_firmware(args: argparse.Namespace) -> int:
    """Sign changes of what firmware trusts."""
    from builder.core.efi_keys import read_certificate
    from builder.core.errors import InputError
    from builder.core.files import write_file
    from builder.outputs.signing import Signer, read_command_pair, read_key_pair

    certificate = args.directory / "secure-boot.crt"
    if args.sign_command is not None:
        pair = read_command_pair(args.sign_command, certificate)
    else:
        pair = read_key_pair(args.directory / "secure-boot.key", certificate)
    signer, made = Signer(pair, int(time.time())), {}
    if args.trust:
        made["db.auth"] = signer.sign_trust(map(read_certificate, args.trust))
    if args.revoke:
        programs, certificates = [], []
        for path in args.revoke:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from error
            if data[:2] == b"MZ":
                programs.append(data)
            else:
                certificates.append(read_certificate(path))
        if pair.der in certificates:
            raise InputError(
                "a key does not revoke itself: firmware that trusts only this one would start nothing more",
                hint="trust another one first, and revoke the old one with that",
            )
        try:
            made["dbx.auth"] = signer.sign_revocation(programs, certificates)
        except ValueError as error:
            raise InputError(f"what is revoked is no kernel image: {error}") from error
    for name, data in made.items():
        write_file(args.directory / name, data)
        sys.stdout.write(f"{args.directory / name}\n")
    return 0


def _find_name(path: Path) -> str:
    """Of the definition, where there is one."""
    if not path.is_file():
        return "build-os"
    from builder.locking import load_any

    return load_any(path).name
