"""Push what was built to a registry: the container of out/, or the system where 'outputs' has 'oci'.

  build-os push registry.example/team/web                   tagged with the version that was built
  build-os push registry.example/team/web:1.0 --tag latest
  build-os push --from oci-archive:web.oci.tar registry.example/team/web:1.0
  build-os push --sign-key web.key registry.example/team/web:1.0    signed as cosign does

What the registry has is not sent again. Credentials are found where podman and Docker keep them.
"""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_out
from builder.cli.registries import (
    PLACES,
    add_chunk_size,
    add_json,
    add_registry_options,
    make_options,
    open_destination,
    open_origin,
    report_copy,
)
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.oci.registry.places import ImagePlace

HELP = "push what was built to a registry"
FORMAT = "oci"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument(
        "destination", metavar="NAME", help="[HOST[:PORT]/]NAME[:TAG]; without a tag the version is one"
    )
    parser.add_argument("-t", "--tag", action="append", default=[], metavar="TAG", help="another tag; may be repeated")
    parser.add_argument("--from", dest="source", metavar="SOURCE", help=f"another image: {PLACES}")
    parser.add_argument(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign with this private key as 'cosign sign --key' does (PEM; COSIGN_PASSWORD has its password)",
    )
    add_out(parser)
    add_chunk_size(parser)
    add_json(parser)
    add_registry_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Push."""
    from builder.oci.image import make_tag
    from builder.oci.registry.copy import copy_image, parse_tags
    from builder.oci.registry.ends import RegistryDestination
    from builder.oci.registry.places import ImagePlace, Transport, parse_place
    from builder.oci.registry.reference import parse_reference

    key = None
    if args.sign_key is not None:
        from builder.oci.sign import read_signing_key

        key = read_signing_key(args.sign_key, os.environ.get("COSIGN_PASSWORD"))
    given = parse_tags(args.tag)
    name = args.destination.removeprefix("docker://")
    reference = parse_reference(name, whole_repository=True)
    if args.source is not None:
        source = parse_place(args.source)
    else:
        source, version = _find_built(args)
        if reference.tag is reference.digest is None and not given:
            reference = reference._replace(tag=make_tag(version))
    if reference.tag is reference.digest is None and not given:
        reference = parse_reference(name)
    target = ImagePlace(Transport.REGISTRY, reference)
    options = make_options(args)
    stop = threading.Event()
    with (
        console.open_step(f"push {source} to {reference}"),
        open_origin(source, options, stop) as origin,
        open_destination(target, options, given, args.chunk_size, stop, console) as destination,
    ):
        copied = copy_image(origin, destination, console, expected=target.digest, stop=stop)
        more: dict[str, str | None] = {}
        if key is not None:
            from builder.oci.sign import push_signature

            assert isinstance(destination, RegistryDestination), "what is pushed goes to a registry"
            more["signature"] = push_signature(destination.publisher, copied.digest, key)
            if more["signature"] is None:
                console.note(f"{copied.digest} is signed by this key already")
    report_copy(copied, str(reference), given, args, console, more)
    return 0


def _find_built(args: argparse.Namespace) -> tuple[ImagePlace, str]:
    """The archive of the last build, and the version in it."""
    from builder.core.errors import InputError
    from builder.core.image import read_image
    from builder.oci.registry.places import ImagePlace, Transport

    image = read_image(args.out)
    if FORMAT not in image.artifacts:
        built = ", ".join(sorted(image.artifacts)) or "nothing"
        raise InputError(
            f"{image.name} was built without an image for registries",
            details=(f"{image.directory} has: {built}",),
            hint=f"add '{FORMAT}' to the definition's outputs and build again, or name an image by --from",
        )
    return ImagePlace(Transport.ARCHIVE, None, image.require_artifact(FORMAT).path), image.version
