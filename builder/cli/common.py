"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console
from builder.core.errors import InputError

if TYPE_CHECKING:
    from builder.outputs.signing import KeyPair

DEFAULT_DEFINITION = "os.yaml"
SIGN_KEY, SIGN_COMMAND, SIGN_CERTIFICATE = "BUILD_OS_SIGN_KEY", "BUILD_OS_SIGN_COMMAND", "BUILD_OS_SIGN_CERTIFICATE"


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


def add_locked(parser: argparse.ArgumentParser) -> None:
    """Whether the lock may be renewed."""
    parser.add_argument(
        "--locked", action="store_true", help="refuse a lock that is missing or stale (stale: also where CI=true)"
    )


def can_relock(args: argparse.Namespace, environment: Mapping[str, str], lock: Path, console: Console) -> bool:
    """Whether a build may bring its lock up to date: a person's may, one that nobody watches uses what is committed."""
    if args.locked or environment.get("CI", "").lower() not in ("true", "1"):
        return not args.locked
    if not lock.exists():
        console.warn(f"there is no {lock}: the newest packages are taken; commit it")
    return not lock.exists()


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Who signs for Secure Boot. Not in the definition: a key belongs to who releases an image, not to what it is."""
    group = parser.add_argument_group("signing for Secure Boot")
    group.add_argument("--sign-key", type=Path, metavar="FILE", help=f"private key, PEM (else ${SIGN_KEY})")
    group.add_argument(
        "--sign-command",
        metavar="COMMAND",
        help=f"signs {{file}} with a key that is kept elsewhere (RSA, PKCS #1 v1.5, SHA-256), and writes the signature "
        f"(else ${SIGN_COMMAND})",
    )
    group.add_argument(
        "--sign-certificate", type=Path, metavar="FILE", help=f"its certificate, PEM or DER (else ${SIGN_CERTIFICATE})"
    )


def choose_key_pair(args: argparse.Namespace, environment: Mapping[str, str]) -> KeyPair | None:
    """The pair that the command line or the environment names.

    Raises:
        InputError: it is half a pair, cannot be read, or is none.
    """
    key, command = args.sign_key, args.sign_command
    if key is None and command is None:
        key, command = _path(environment, SIGN_KEY), environment.get(SIGN_COMMAND) or None
    certificate = args.sign_certificate or _path(environment, SIGN_CERTIFICATE)
    if key is None and command is None and certificate is None:
        return None
    if key is not None and command is not None:
        raise InputError("a key and a command are both to sign", hint="leave out one of --sign-key and --sign-command")
    if certificate is None:
        raise InputError("a private key signs together with its certificate", hint="add --sign-certificate FILE")
    from builder.outputs.signing import read_command_pair, read_key_pair

    if command is not None:
        return read_command_pair(command, certificate)
    if key is None:
        raise InputError("a certificate alone signs nothing", hint="add --sign-key FILE, or --sign-command COMMAND")
    return read_key_pair(key, certificate)


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(environment[name]) if environment.get(name) else None


def require_definition(path: Path) -> Path:
    """The path, if it is there.

    Raises:
        InputError: it is not, with what to do.
    """
    if not path.is_file():
        hint = "'build-os init' makes one" if path == Path(DEFAULT_DEFINITION) else None
        raise InputError(f"there is no {path}", hint=hint)
    return path
