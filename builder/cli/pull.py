"""Fetch an image of a registry into the store, verified; print its name by digest.

  build-os pull debian:13-slim
  build-os pull --platform linux/riscv64 ghcr.io/team/app:1.0

What was cut short goes on where it ended. Credentials, mirrors and registries without TLS are found where podman has
them (auth.json, registries.conf).
"""

from __future__ import annotations

import argparse
import json
import sys

from builder.cli.registries import add_json, add_platform, add_registry_options, choose_platform, make_options
from builder.core.console import Console, format_size

HELP = "fetch an image of a registry into the store"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("image", metavar="IMAGE", help="[HOST[:PORT]/]NAME[:TAG][@DIGEST]")
    add_platform(parser)
    add_json(parser)
    add_registry_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Pull."""
    from builder.core.store import Store
    from builder.oci.registry.open import open_client
    from builder.oci.registry.pull import pull_image
    from builder.oci.registry.reference import parse_reference

    reference = parse_reference(args.image.removeprefix("docker://"))
    platform = choose_platform(args.platform)
    store = Store.open()
    with (
        store.keep_in_use(console),
        open_client(reference, make_options(args)) as client,
        console.open_step(f"pull {reference}"),
    ):
        pulled = pull_image(client, store, console, architecture=platform)
    size = sum(blob.size for blob in pulled.blobs)
    console.note(f"{len(pulled.blobs) - 2} layers, {format_size(size)}, in {pulled.layout}")
    if args.json:
        document = {
            "reference": str(pulled.reference),
            "index": pulled.index.digest if pulled.index else None,
            "manifest": pulled.manifest.digest,
            "mediaType": pulled.manifest.media_type,
            "layout": str(pulled.layout),
            "blobs": [
                {"digest": blob.digest, "size": blob.size, "mediaType": blob.media_type} for blob in pulled.blobs
            ],
        }
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"{pulled.reference}\n")
    return 0
