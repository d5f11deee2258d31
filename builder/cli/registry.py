"""Look into a registry, and take things out of it.

  build-os registry tags debian                       one a line
  build-os registry inspect ghcr.io/team/app:1.0      digest, platforms, layers
  build-os registry referrers ghcr.io/team/app:1.0    signatures and other things that were attached to it
  build-os registry delete registry.example/team/app:1.0

'delete' takes away the tag where a name has one, and what it names where it is written by digest.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from builder.cli.registries import add_registry_options, make_options
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.oci.registry.client import Client

HELP = "list tags and referrers of a registry, inspect and delete images"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("action", choices=("tags", "inspect", "referrers", "delete"))
    parser.add_argument("image", metavar="IMAGE", help="[HOST[:PORT]/]NAME[:TAG][@DIGEST]")
    parser.add_argument("--artifact-type", metavar="TYPE", help="referrers: of this media type only")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    add_registry_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print what was asked for."""
    from builder.core.errors import InputError
    from builder.oci.registry.listing import list_referrers, list_tags
    from builder.oci.registry.open import open_client
    from builder.oci.registry.push import Publisher
    from builder.oci.registry.reference import parse_reference

    name = args.image.removeprefix("docker://")
    bare = args.action in ("tags", "delete")
    reference = parse_reference(name, whole_repository=bare)
    with open_client(reference, make_options(args), mirrors=args.action != "delete") as client:
        if args.action == "tags":
            if reference.tag is not None or reference.digest is not None:
                raise InputError(f"{name} is an image; tags are a repository's", hint=f"write {reference.name}")
            _print(args, list_tags(client), lambda tags: tags)
        elif args.action == "delete":
            if reference.tag is reference.digest is None:
                raise InputError(f"{name} is a repository; only images are deleted", hint=f"write {name}:TAG")
            publisher = Publisher(client)
            if reference.digest is not None:
                publisher.delete_manifest(reference.digest)
            else:
                publisher.delete_tag(reference.target)
            console.note(f"deleted {reference}")
        elif args.action == "referrers":
            digest = reference.digest or _require(client).digest
            referrers = list_referrers(client, digest, args.artifact_type)
            rows = [
                {
                    "digest": entry.digest,
                    "size": entry.size,
                    "mediaType": entry.media_type,
                    "artifactType": entry.artifact_type,
                    "annotations": dict(entry.annotations),
                }
                for entry in referrers
            ]
            _print(
                args, rows, lambda rows: [f"{row['digest']}  {row['artifactType'] or row['mediaType']}" for row in rows]
            )
        else:
            _inspect(args, client)
    return 0


def _require(client: Client) -> Any:
    from builder.oci.registry.client import MissingImageError

    descriptor = client.find_descriptor()
    if descriptor is None:
        raise MissingImageError(f"there is no image {client.reference}")
    return descriptor


def _inspect(args: argparse.Namespace, client: Client) -> None:
    manifest = client.read_manifest()
    entries = client.list_entries(manifest) if manifest.is_index else client.list_image_blobs(manifest)
    rows = [
        {
            "digest": entry.digest,
            "size": entry.size,
            "mediaType": entry.media_type,
            **({"platform": str(entry.platform)} if entry.platform else {}),
        }
        for entry in entries
    ]
    document = {
        "name": str(client.reference),
        "digest": manifest.digest,
        "mediaType": manifest.descriptor.media_type,
        "manifests" if manifest.is_index else "blobs": rows,
    }

    def render(_: Any) -> list[str]:
        lines = [f"{manifest.digest}  {manifest.descriptor.media_type}"]
        for row in rows:
            what = row.get("platform") or row["mediaType"]
            lines.append(f"  {row['digest']}  {row['size']:>11}  {what}")
        return lines

    _print(args, document, render)


def _print(args: argparse.Namespace, value: Any, render: Any) -> None:
    lines = [json.dumps(value)] if args.json else render(value)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
