"""Arguments and steps that the commands about registries share."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.core.console import Console, format_size

if TYPE_CHECKING:
    from builder.oci.registry.copy import Copied
    from builder.oci.registry.ends import Destination, Origin
    from builder.oci.registry.open import RegistryOptions
    from builder.oci.registry.places import ImagePlace

PLACES = (
    "docker://NAME, oci:DIR[:NAME], oci-archive:FILE[:NAME] or docker-archive:FILE[:NAME]; a bare NAME is a registry's"
)
_SIDES = {"": "", "src-": " of the source", "dest-": " of the destination"}


def add_registry_options(parser: argparse.ArgumentParser, *sides: str) -> None:
    """How registries are spoken to; ``sides`` are prefixes like ``src-`` for those that differ."""
    group = parser.add_argument_group("registries")
    for side in ("", *sides):
        which = _SIDES[side]
        group.add_argument(
            f"--{side}authfile",
            type=Path,
            metavar="FILE",
            help=f"credentials{which} (default: where podman and Docker keep them)",
        )
        group.add_argument(
            f"--{side}tls-verify",
            type=_parse_bool,
            metavar="true|false",
            help=f"whether TLS{which} must be there and right (default: true, or as registries.conf says)",
        )
        group.add_argument(
            f"--{side}cert-dir", type=Path, metavar="DIR", help=f"authorities (*.crt) and client certificates{which}"
        )


def add_platform(parser: argparse.ArgumentParser) -> None:
    """Which image of several."""
    parser.add_argument(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="of several images the one for this (default: this machine)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="say what was done as one JSON object")


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def make_options(args: argparse.Namespace, side: str = "") -> RegistryOptions:
    """What the command line says of registries, or of those on one side.

    Raises:
        InputError: a directory of certificates is not there.
    """
    from builder.core.errors import InputError
    from builder.oci.registry.open import RegistryOptions

    def choose(name: str) -> Any:
        own = getattr(args, f"{side}_{name}", None) if side else None
        return getattr(args, name) if own is None else own

    directory = choose("cert_dir")
    if directory is not None and not directory.is_dir():
        raise InputError(f"there is no directory {directory} with certificates")
    return RegistryOptions(authfile=choose("authfile"), tls_verify=choose("tls_verify"), cert_dir=directory)


def choose_platform(text: str | None) -> str:
    """``linux/riscv64``: as it was asked for, else this machine's.

    Raises:
        InputError: it is no platform.
    """
    from builder.core.architecture import find_host_arch
    from builder.core.errors import InputError

    if text is None:
        return f"linux/{find_host_arch()}"
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(part.isascii() and part for part in parts):
        raise InputError(f"{text!r} is no platform", hint="like linux/riscv64 or linux/arm/v7")
    return text


@contextmanager
def open_origin(place: ImagePlace, options: RegistryOptions, stop: threading.Event) -> Iterator[Origin]:
    """Where an image is copied from.

    Raises:
        InputError: there is nothing that can be used.
    """
    from builder.oci.registry.ends import RegistryOrigin
    from builder.oci.registry.open import open_client

    if place.reference is not None:
        with open_client(place.reference, options, stop=stop) as client:
            yield RegistryOrigin(client)
        return
    from builder.core.errors import InputError
    from builder.oci.registry.origins import FileOrigin
    from builder.oci.registry.places import Transport

    assert place.path is not None
    if place.transport is Transport.BUNDLE:
        raise InputError(f"{place.path} is no image any more, so it cannot be copied", hint="a bundle is only written")
    yield FileOrigin.open(place.path, place.name)


@contextmanager
def open_destination(
    place: ImagePlace,
    options: RegistryOptions,
    tags: tuple[str, ...],
    chunk: int,
    stop: threading.Event,
    console: Console,
) -> Iterator[Destination]:
    """Where an image is copied to.

    Raises:
        InputError: nothing can be put there.
    """
    from builder.core.errors import InputError
    from builder.oci.registry.ends import RegistryDestination
    from builder.oci.registry.open import open_client
    from builder.oci.registry.places import Transport
    from builder.oci.registry.push import Publisher

    if place.reference is not None:
        own = (place.reference.tag,) if place.reference.tag is not None else ()
        with open_client(place.reference, options, mirrors=False, stop=stop) as client:
            yield RegistryDestination(Publisher(client, chunk=chunk), (*own, *tags))
        return
    from builder.oci.registry.destinations import LayoutDestination, open_archive, open_bundle

    if tags:
        raise InputError("--tag is for registries", hint=f"{place.transport}:PATH:NAME names an image elsewhere")
    assert place.path is not None
    if place.transport is Transport.BUNDLE:
        with open_bundle(place.path, console) as bundle:
            yield bundle
        return
    if place.transport is Transport.LAYOUT:
        yield LayoutDestination(place.path, place.name)
        return
    with open_archive(place.path, place.name, docker=place.transport is Transport.DOCKER_ARCHIVE) as archive:
        yield archive


def add_chunk_size(parser: argparse.ArgumentParser) -> None:
    """How blobs are cut into requests."""
    parser.add_argument(
        "--chunk-size",
        type=parse_chunk_size,
        default=0,
        metavar="SIZE",
        help="send blobs in parts of this size, like 64M (default: a blob at once; 'Content-Range' of the spec)",
    )


def parse_chunk_size(text: str) -> int:
    """``64M`` in bytes."""
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = text.rstrip("KMG"), text.lstrip("0123456789")
    if not number.isascii() or not number.isdecimal() or unit not in units or not 0 < int(number[:12]) < 1 << 30:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; one is like 64M")
    return int(number) * units[unit]


def report_copy(
    copied: Copied,
    destination: str,
    tags: tuple[str, ...],
    args: argparse.Namespace,
    console: Console,
    more: Mapping[str, str | None] | None = None,
) -> None:
    """Say what was done: to programs all of it and ``more``, else the digest on standard output."""
    parts = [f"{copied.copied} copied ({format_size(copied.size)})"] if copied.copied else []
    parts += [f"{copied.there} were there"] if copied.there else []
    parts += [f"{copied.mounted} mounted from another repository"] if copied.mounted else []
    console.note(f"blobs: {', '.join(parts)}")
    if args.json:
        document = {
            "destination": destination,
            "tags": list(tags),
            "digest": copied.digest,
            "mediaType": copied.media_type,
            "copied": copied.copied,
            "there": copied.there,
            "mounted": copied.mounted,
            "bytes": copied.size,
            **(more or {}),
        }
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"{copied.digest}\n")
