"""Where an image can be copied from and to, by the words of skopeo: ``docker://NAME``, ``oci:DIR[:REF]``,
``oci-archive:FILE[:REF]``, ``docker-archive:FILE[:REF]`` (containers-transports(5)). A bare name is a registry's.
One word is ours: ``bundle:DIR``, to which an image is unpacked, ready to run (runtime-spec).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from builder.core.errors import InputError
from builder.core.suggest import make_suggestion
from builder.oci.registry.reference import Reference, parse_reference


class Transport(enum.StrEnum):
    """How an image is kept somewhere."""

    REGISTRY = "docker"
    LAYOUT = "oci"
    ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    BUNDLE = "bundle"


# Transports of others that people may try, with what to do instead.
_ELSEWHERE = {
    "containers-storage": "podman push IMAGE oci-archive:FILE, then oci-archive:FILE",
    "docker-daemon": "docker save IMAGE -o FILE, then docker-archive:FILE",
    "dir": "oci:DIRECTORY",
    "ostree": "oci:DIRECTORY",
    "sif": "oci-archive:FILE",
    "tarball": "oci-archive:FILE",
}
_WORD = re.compile(r"([a-z][a-z-]*):(.*)", re.DOTALL)


@dataclass(frozen=True)
class ImagePlace:
    """A transport and what is behind it.

    Attributes:
        reference: the image's name in a registry.
        path: of the directory or file, for every other transport.
        name: of the image in it, where there are several; its tag or its whole name.
    """

    transport: Transport
    reference: Reference | None = None
    path: Path | None = None
    name: str = ""

    @property
    def digest(self) -> str | None:
        """What has to be there, if the name says so."""
        return None if self.reference is None else self.reference.digest

    def __str__(self) -> str:
        if self.reference is not None:
            return f"docker://{self.reference}"
        return f"{self.transport}:{self.path}{':' if self.name else ''}{self.name}"


def parse_place(text: str) -> ImagePlace:
    """A place on a command line.

    Raises:
        InputError: it is none.
    """
    if text.startswith("docker://"):
        return ImagePlace(Transport.REGISTRY, parse_reference(text.removeprefix("docker://")))
    match = _WORD.fullmatch(text)
    if match is not None:
        word, rest = match.groups()
        if word == Transport.BUNDLE:
            if not rest:
                raise InputError(f"{text!r} names no directory", hint="bundle:DIRECTORY")
            return ImagePlace(Transport.BUNDLE, None, Path(rest))
        if word in (Transport.LAYOUT, Transport.ARCHIVE, Transport.DOCKER_ARCHIVE):
            path, _, name = rest.partition(":")
            if not path:
                raise InputError(f"{text!r} names no file or directory", hint=f"{word}:PATH[:NAME]")
            return ImagePlace(Transport(word), None, Path(path), name)
        if word in _ELSEWHERE:
            raise InputError(f"build-os has no transport {word!r}", hint=f"use {_ELSEWHERE[word]}")
        if rest.startswith("//"):
            known = [f"{transport}:" for transport in Transport]
            raise InputError(
                f"there is no transport {word!r}{make_suggestion(f'{word}:', known)}", hint="docker://NAME"
            )
    if text.startswith(("/", "./", "../")):
        raise InputError(
            f"{text!r} is a file or directory: say what kind",
            hint=f"oci:{text}, oci-archive:{text} or docker-archive:{text}",
        )
    return ImagePlace(Transport.REGISTRY, parse_reference(text))
