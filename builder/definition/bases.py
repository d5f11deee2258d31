"""``from`` of a container's definition: what kind of image is meant, and where it is."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from firstboot.config.oci.reference import parse_name

# containers-transports(5): what skopeo and podman call images that are files.
DIRECTORY = "oci"
ARCHIVES = ("oci-archive", "docker-archive")
REGISTRY = "registry"
DEFINITIONS = (".yaml", ".yml")


class BaseReference(NamedTuple):
    """A base as the definition names it.

    Attributes:
        kind: ``definition``, ``registry``, or one of the transports above.
        name: a path relative to the definition, or a reference in full.
        tag: which image of several.
    """

    kind: str
    name: str
    tag: str = ""


def parse_base(text: str) -> BaseReference:
    """What ``from`` says.

    Raises:
        ValueError: it is neither a path nor a reference; the message says why.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in (DIRECTORY, *ARCHIVES):
        name, _, tag = rest.partition(":")
        _check_path(name)
        return BaseReference(kind, name, tag)
    if text.endswith(DEFINITIONS) and "@" not in text and ":" not in text:
        _check_path(text)
        return BaseReference("definition", text)
    return BaseReference(REGISTRY, str(parse_name(text)))


def _check_path(name: str) -> None:
    if not name or PurePosixPath(name).is_absolute():
        raise ValueError(f"a path is written relative to this file, and {name!r} is none")
