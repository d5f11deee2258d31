"""Arguments of commands that use a cache which machines share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.console import Console
from builder.core.errors import InputError
from builder.core.store import Store
from builder.sharing import KEYS, SIGN_KEY, URL

if TYPE_CHECKING:
    from builder.sharing.cache import SharedCache


def add_sharing(parser: argparse.ArgumentParser) -> None:
    """Where the cache is, whose entries are used, and who signs."""
    group = parser.add_argument_group("a cache that machines share")
    group.add_argument(
        "--cache", metavar="URL", help=f"a directory, oci://HOST/NAME, or what fsspec knows, like s3:// (else ${URL})"
    )
    group.add_argument(
        "--cache-key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help=f"a public key whose entries are used; may be repeated (else ${KEYS}, with ':' between files)",
    )
    group.add_argument(
        "--cache-sign-key",
        type=Path,
        metavar="FILE",
        help=f"private key that signs what is put there (else ${SIGN_KEY})",
    )


def open_sharing_store(args: argparse.Namespace, console: Console) -> Store:
    """The store, with the shared cache behind it if one is named."""
    store = Store.open()
    cache = find_cache(args, os.environ, console)
    return store if cache is None else replace(store, tier=cache)


def say_what_came(store: Store, console: Console) -> None:
    """What the shared cache has given to a build, if there is one."""
    from builder.sharing.cache import SharedCache

    if isinstance(store.tier, SharedCache):
        console.note(store.tier.describe())


def find_cache(args: argparse.Namespace, environment: Mapping[str, str], console: Console) -> SharedCache | None:
    """The cache that the command line or the environment names; ``None`` if none is.

    Raises:
        InputError: it is none, or a key cannot be read.
        CapabilityError: what reads such places is not installed.
    """
    url = args.cache or environment.get(URL)
    if not url:
        return None
    from builder.oci.sign import read_signing_key
    from builder.sharing.cache import SharedCache
    from builder.sharing.open import open_place
    from builder.signatures.key_file import read_verify_key
    from builder.signatures.verify_key import KeyFileError, VerifyKey

    named = args.cache_sign_key or (Path(environment[SIGN_KEY]) if environment.get(SIGN_KEY) else None)
    signing = None if named is None else read_signing_key(named, None)
    paths = args.cache_key or [Path(word) for word in environment.get(KEYS, "").split(os.pathsep) if word]
    trusted: list[VerifyKey] = [] if signing is None else [signing.public]
    for path in paths:
        try:
            trusted.append(read_verify_key(path))
        except KeyFileError as error:
            raise InputError(f"the key {path} {error}") from error
    if not trusted:
        raise InputError(
            f"of the cache {url}, entries of no key are trusted",
            hint="--cache-key FILE names one; 'build-os key DIR --for cache' makes a pair",
        )
    return SharedCache(open_place(url), trusted, console, signing)


def require_cache(args: argparse.Namespace, console: Console, *, to_write: bool = False) -> SharedCache:
    """The cache that is named.

    Raises:
        InputError: none is; or it is to be written, and nothing signs.
    """
    cache = find_cache(args, os.environ, console)
    if cache is None:
        raise InputError("say which cache", hint=f"--cache URL, or {URL} in the environment")
    if to_write and cache.signing is None:
        raise InputError("what is put into a cache is signed", hint="add --cache-sign-key FILE")
    return cache


def list_sharing_words(args: argparse.Namespace) -> list[str]:
    """The same arguments for another process of ours; what the environment says, it sees itself."""
    words = [word for path in args.cache_key for word in ("--cache-key", str(path))]
    words += ["--cache", args.cache] if args.cache else []
    return words + (["--cache-sign-key", str(args.cache_sign_key)] if args.cache_sign_key else [])
