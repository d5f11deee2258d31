"""Copy an image between registries, layouts and archives; its bytes, and so its digests, stay as they are.

  build-os copy debian:13-slim registry.example/base/debian:13-slim
  build-os copy --all docker://ghcr.io/team/app:1.0 oci:app:1.0
  build-os copy docker-archive:saved.tar registry.example/team/app:1.0
  build-os copy debian:13-slim bundle:box      # unpacked, for 'crun run -b box NAME' by the user who copies

Between repositories of one registry blobs are mounted, and what is there already is not sent again.
"""

from __future__ import annotations

import argparse
import threading

from builder.cli.registries import (
    PLACES,
    add_chunk_size,
    add_json,
    add_platform,
    add_registry_options,
    choose_platform,
    make_options,
    open_destination,
    open_origin,
    report_copy,
)
from builder.core.console import Console

HELP = "copy an image between registries, layouts and archives"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("source", metavar="SOURCE", help=PLACES)
    parser.add_argument("destination", metavar="DESTINATION", help="likewise; or bundle:DIR, which is made")
    parser.add_argument("-a", "--all", action="store_true", help="the images of all platforms, with their index")
    parser.add_argument(
        "-t", "--tag", action="append", default=[], metavar="TAG", help="another tag in the registry; may be repeated"
    )
    add_platform(parser)
    add_chunk_size(parser)
    add_json(parser)
    add_registry_options(parser, "src-", "dest-")


def run(args: argparse.Namespace, console: Console) -> int:
    """Copy."""
    from builder.core.errors import InputError
    from builder.oci.registry.copy import copy_image, parse_tags
    from builder.oci.registry.places import parse_place
    from firstboot.config.oci.manifests import Platform

    if args.all and args.platform:
        raise InputError("--all copies every platform, --platform one", hint="leave one of them out")
    source, target = parse_place(args.source), parse_place(args.destination)
    tags = parse_tags(args.tag)
    platform = None if args.all else Platform(*choose_platform(args.platform).split("/", 2))
    stop = threading.Event()
    with (
        console.open_step(f"copy {source} to {target}"),
        open_origin(source, make_options(args, "src"), stop) as origin,
        open_destination(target, make_options(args, "dest"), tags, args.chunk_size, stop, console) as destination,
    ):
        copied = copy_image(origin, destination, console, platform=platform, expected=target.digest, stop=stop)
    report_copy(copied, str(target), tags, args, console)
    return 0
