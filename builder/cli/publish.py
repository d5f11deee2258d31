"""Publish what was built to a repository of versions: a directory that any web server can serve.

  build-os key update-keys --for updates       once: keys, and the root.json that machines have
  build-os publish repository                  the version in out/, in the channel 'stable'
  build-os publish repository --channel testing --deltas 2
  build-os publish repository --extension out/store      with an extension that was built for it
  build-os publish repository --version 1.1 --rollout 24h
  build-os publish repository --refresh        sign anew what expires; from a timer, daily
  build-os publish repository --push oci://registry.example/team/web       the same, and all of it to a registry
  build-os publish repository --list

The definition has 'update' in its outputs. Metadata are those of TUF: machines with the root.json refuse what is old,
mixed, changed or signed by others. Who is cut off leaves the repository as it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.common import add_out
from builder.cli.registries import add_registry_options, make_options
from builder.core.console import Console

if TYPE_CHECKING:
    from builder.core.image import Image
    from builder.oci.registry.reference import Reference
    from builder.publishing.channels import Offer
    from builder.publishing.publish import Origin
    from builder.publishing.repository import Repository
    from update.documents import Release

HELP = "publish what was built, for machines that update themselves"


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the repository; made if it is not there")
    parser.add_argument(
        "--keys", type=Path, default=Path("update-keys"), metavar="DIR", help="keys and root.json (update-keys)"
    )
    parser.add_argument(
        "--sign-command",
        metavar="COMMAND",
        help="signs {file} for {role} with keys that are kept elsewhere, and writes the signature",
    )
    add_out(parser)
    parser.add_argument(
        "--extension",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="with it an extension that was built for it; may be repeated",
    )
    what = parser.add_argument_group("what is done, if not to publish what is in out/").add_mutually_exclusive_group()
    what.add_argument(
        "--version", metavar="VERSION", help="offer a version that is published already, with other words"
    )
    what.add_argument("--withdraw", metavar="VERSION", help="take a version out of the channel")
    what.add_argument("--refresh", action="store_true", help="sign anew what expires")
    what.add_argument("--list", action="store_true", help="show channels and versions; changes nothing")
    what.add_argument("--show", metavar="VERSION", help="show a version's files; changes nothing")
    offer = parser.add_argument_group("to whom it is offered")
    offer.add_argument("--channel", default="stable", metavar="NAME", help="(stable)")
    offer.add_argument("--minimum", metavar="VERSION", help="only to machines that run at least this version")
    offer.add_argument("--maximum", metavar="VERSION", help="only to machines that run at most this version")
    offer.add_argument("--barrier", action="store_true", help="no machine goes past it without having run it")
    offer.add_argument("--dead-end", metavar="TEXT", help="nothing comes after it for machines that run it: why")
    offer.add_argument("--rollout", metavar="DURATION", help="to more and more machines, to all after 90m, 24h, 7d ...")
    offer.add_argument("--rollout-start", metavar="TIME", help="when that begins, like 2026-11-28T14:00:00Z (now)")
    offer.add_argument("--notes", metavar="TEXT", help="what is new")
    offer.add_argument("--notes-file", type=Path, metavar="FILE", help="the same, from a file")
    parser.add_argument("--release", action="store_true", help="others rely on it: refuse development keys")
    parser.add_argument(
        "--deltas", type=int, default=2, metavar="N", help="make deltas from the N versions before (2); 0 for none"
    )
    parser.add_argument("--prune", type=int, metavar="N", help="keep the newest N versions, barriers and dead ends")
    parser.add_argument(
        "--push",
        metavar="oci://HOST/NAME",
        help="bring the repository, as it is then, to this one of a registry as well",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="which image, where the repository has several and --out does not tell"
    )
    parser.add_argument("--json", action="store_true", help="with --list and --show: for programs")
    add_registry_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Publish, or show."""
    from builder.core.errors import InputError
    from builder.publishing import publish
    from builder.publishing.registry import parse_repository_place
    from builder.signatures.signing_command import parse_signing_command
    from update.documents import is_channel_name

    for name, least in (("deltas", 0), ("prune", 1)):
        number = getattr(args, name)
        if number is not None and number < least:
            raise InputError(f"--{name} {number} makes no sense", hint=f"give a number of versions, at least {least}")
    if args.release and args.version:
        raise InputError(
            "--release does not go with --version: nobody can tell which key signed what is published already",
            hint="publish it with --release from its build",
        )
    if not is_channel_name(args.channel):
        raise InputError(f"{args.channel!r} is no name of a channel", hint="lower-case letters, digits, '.', '_', '-'")
    now = int(time.time())
    if args.list or args.show:
        return _show(args, now)
    place = None if args.push is None else parse_repository_place(args.push)
    offer = _make_offer(args, now)
    origin = None if args.version or args.withdraw or args.refresh else _find_origin(args, console)
    sweep = args.prune is not None
    command = None if args.sign_command is None else parse_signing_command(args.sign_command)
    with publish.change_repository(
        args.directory, args.keys, console, now, sweep=sweep, command=command, release=args.release
    ) as repository:
        published = None
        if origin is not None:
            published = publish.publish_build(
                repository, origin, args.channel, offer, args.deltas, console, now, for_release=args.release
            )
        elif args.version:
            publish.put_release(repository, _require_release(repository, args, args.version), args.channel, offer, now)
        elif args.withdraw:
            publish.drop_release(repository, _require_release(repository, args, args.withdraw), args.channel)
        pruned = []
        if args.prune is not None:
            name, arch = (origin.name, origin.arch) if origin else _choose_image(repository, args.name)
            pruned = publish.prune_releases(repository, name, arch, args.prune)
    if args.prune is not None:
        console.note(f"removed: {', '.join(pruned) or 'no version'}")
    if published is not None:
        console.note(f"{published.version} is in {args.channel}: {'; '.join(publish.describe_saving(published))}")
    if place is not None:
        _push(args, place, console)
    _warn_of_expiry(repository, console, now)
    return 0


def _push(args: argparse.Namespace, place: Reference, console: Console) -> None:
    from builder.oci.registry.open import open_client
    from builder.oci.registry.push import Publisher
    from builder.publishing.registry import describe_push, send_repository

    with open_client(place, make_options(args), mirrors=False) as client:
        pushed = send_repository(args.directory, Publisher(client), console, prune=args.prune is not None)
    console.note(describe_push(pushed, place.name))


def _find_origin(args: argparse.Namespace, console: Console) -> Origin:
    from builder.core.errors import InputError
    from builder.core.image import read_image
    from builder.publishing.extensions import read_extension
    from builder.publishing.publish import make_origin

    image = read_image(args.out)
    origin = make_origin(image, console)
    if args.name not in (None, image.name):
        raise InputError(f"{args.out} has {image.name}, not {args.name}")
    extensions = tuple(read_extension(build, image) for build in args.extension)
    if args.release:
        for built in (image, *map(read_image, args.extension)):
            refuse_development_key(built)
    return replace(origin, extensions=extensions)


def refuse_development_key(image: Image) -> None:
    """What others rely on was signed by a key that somebody looks after, if it was signed at all.

    Raises:
        InputError: it was not, or nobody can tell.
    """
    from builder.core.efi_keys import make_fingerprint
    from builder.core.errors import InputError
    from builder.outputs.signing import is_of_development

    if not image.signed_by:
        return
    der = b"" if image.certificate is None else image.certificate.read_bytes()
    if make_fingerprint(der) != image.signed_by:
        raise InputError(
            f"nobody can tell who signed {image.name} {image.version}: its certificate is not in {image.directory}",
            hint="build it again",
        )
    if is_of_development(der):
        raise InputError(
            f"{image.name} {image.version} is signed by development keys, and this is to be a release",
            hint="build it by 'build-os build --release' with keys of 'build-os key DIR' without --dev",
        )


def _make_offer(args: argparse.Namespace, now: int) -> Offer:
    from builder.core.errors import InputError
    from builder.publishing.channels import Offer, parse_duration
    from update.documents import Rollout
    from update.times import parse_time
    from update.versions import is_version

    for name in ("minimum", "maximum"):
        version = getattr(args, name)
        if version is not None and not is_version(version):
            raise InputError(f"--{name}: {version!r} is no version")
    notes = args.notes
    if args.notes_file is not None:
        try:
            notes = args.notes_file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {args.notes_file}: {error}") from error
    rollout = None
    if args.rollout is not None:
        try:
            start = now if args.rollout_start is None else parse_time(args.rollout_start)
        except ValueError as error:
            raise InputError(f"--rollout-start: {args.rollout_start!r} is not {error}") from error
        rollout = Rollout(start, parse_duration(args.rollout))
    elif args.rollout_start is not None:
        raise InputError("--rollout-start says when a rollout begins, and there is none", hint="add --rollout 24h")
    return Offer(args.minimum, args.maximum, args.barrier, args.dead_end, rollout, notes)


def _choose_image(repository: Repository, name: str | None) -> tuple[str, str]:
    from builder.core.errors import InputError
    from builder.publishing.publish import list_images

    images = [image for image in list_images(repository) if name in (None, image[0])]
    if len(images) != 1:
        known = [f"{image} for {arch}" for image, arch in list_images(repository)]
        raise InputError(
            f"{repository.directory} has {'several images' if images else 'no such image'}",
            details=known,
            hint="name one by --name",
        )
    return images[0]


def _require_release(repository: Repository, args: argparse.Namespace, version: str) -> Release:
    from builder.core.errors import InputError
    from builder.publishing.publish import find_release, list_versions

    name, arch = _choose_image(repository, args.name)
    release = find_release(repository, name, arch, version)
    if release is None:
        raise InputError(
            f"{version} is not in {repository.directory}",
            details=[f"published: {', '.join(list_versions(repository, name, arch)) or 'nothing'}"],
        )
    return release


def _show(args: argparse.Namespace, now: int) -> int:
    from builder.publishing.listing import describe_release, describe_repository, format_listing, format_release_lines
    from builder.publishing.repository import open_repository

    repository = open_repository(args.directory, None)
    if args.show:
        release = _require_release(repository, args, args.show)
        text = json.dumps(describe_release(release), indent=1) if args.json else format_release_lines(release)
    else:
        description = describe_repository(repository, now)
        text = json.dumps(description, indent=1) if args.json else format_listing(description)
    sys.stdout.write(f"{text}\n")
    return 0


def _warn_of_expiry(repository: Repository, console: Console, now: int) -> None:
    left = int((repository.root.signed.expires.timestamp() - now) // 86400)
    if left < 60:
        console.warn(f"the root expires in {left} days: 'build-os key DIR --for updates --renew' signs a new one")
