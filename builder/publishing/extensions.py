"""Extensions of a version: each from a build of its own, published with the version that it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError
from builder.core.image import EXTENSION, Image, read_image
from builder.core.tools import Tools
from builder.products.formats.update import compress_part
from builder.publishing.repository import Repository
from update.documents import Release, ReleaseExtension, format_catalogue, make_catalogue_path

_BUILD_BOTH = "build the system and the extension again, of the same definitions"


@dataclass(frozen=True)
class ExtensionOrigin:
    """What is published with a version."""

    name: str
    type: str
    description: str
    image: Path


def read_extension(build: Path, system: Image) -> ExtensionOrigin:
    """An extension that was built for just this build of a system.

    Raises:
        InputError: it is none, is for another system or another build of it, or nobody signed it.
    """
    built = read_image(build)
    extends = built.extends
    if extends is None:
        raise InputError(f"{build} is no extension", hint="name what a definition of 'kind: extension' was built into")
    if (extends.name, built.version, built.arch) != (system.name, system.version, system.arch):
        raise InputError(
            f"the extension '{built.name}' is for {extends.name} {built.version} on {built.arch}, and not for "
            f"{system.name} {system.version} on {system.arch}",
            hint=_BUILD_BOTH,
        )
    if extends.tree != system.tree:
        raise InputError(
            f"the extension '{built.name}' was made for another build of {system.name} {system.version}",
            hint=_BUILD_BOTH,
        )
    if not built.signed_by:
        raise InputError(
            f"nobody signed the extension '{built.name}', and no machine takes it",
            hint="build it with --sign-key and --sign-certificate",
        )
    return ExtensionOrigin(built.name, extends.type, extends.description, built.require_artifact(EXTENSION).path)


def prepare_extensions(origins: Sequence[ExtensionOrigin], directory: Path, tools: Tools) -> list[ReleaseExtension]:
    """Their images as they are transferred, in files of the directory.

    Raises:
        InputError: two have the same name.
        CapabilityError, ToolError: zstd is not there, or failed.
    """
    made: list[ReleaseExtension] = []
    for origin in origins:
        if origin.name in {extension.name for extension in made}:
            raise InputError(f"two extensions are called '{origin.name}'")
        part = compress_part(f"extension-{origin.name}", origin.image, directory, tools, "")
        made.append(ReleaseExtension(origin.name, origin.type, origin.description, part))
    return sorted(made)


def merge_extensions(there: Release, new: Sequence[ReleaseExtension]) -> Release:
    """A version that is published, with more extensions.

    Raises:
        InputError: one is published already, and is something else.
    """
    for extension in new:
        known = there.find_extension(extension.name)
        if known is not None and known.part != extension.part:
            raise InputError(
                f"the extension '{extension.name}' of {there.version} is published already, and is something else",
                hint="machines may have it: publish it with the next version",
            )
    names = {extension.name for extension in new}
    kept = (extension for extension in there.extensions if extension.name not in names)
    return there._replace(extensions=tuple(sorted((*kept, *new))))


def put_catalogue(repository: Repository, name: str, arch: str, releases: Sequence[Release]) -> None:
    """Write which extensions an image has, in which versions; nothing where there were never any."""
    path = make_catalogue_path(name, arch)
    if path in repository.files or any(release.extensions for release in releases):
        repository.add(path, format_catalogue(name, arch, releases))
