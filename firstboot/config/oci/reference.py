"""Names of images as Docker and podman know them: ``[HOST[:PORT]/]PATH[:TAG][@DIGEST]``.

The grammar is that of the reference package of the distribution project, which the OCI distribution-spec repeats for
repositories, tags and digests. A name without a host is Docker Hub's, one without a slash is in ``library`` there.
"""

from __future__ import annotations

import re
from functools import cache

from firstboot.config.named_tuple import NamedTuple

_compiled = cache(re.compile)

REPOSITORY = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
# Where Docker Hub answers; its name is no server of the distribution-spec.
_SERVERS = {DEFAULT_REGISTRY: "registry-1.docker.io"}
_OTHER_NAMES = {"index.docker.io": DEFAULT_REGISTRY, "registry-1.docker.io": DEFAULT_REGISTRY}
MAX_NAME = 255  # of host and repository together
_MAX_TEXT = 1024


class BadReference(ValueError):
    """A text that names no image; the message says why."""


class Reference(NamedTuple):
    """The name of an image, in full.

    Attributes:
        registry: host and port; ``docker.io`` for Docker Hub.
        repository: with ``library/`` where Docker Hub's is meant.
        tag: ``None`` where the name has none, because it has a digest or is a whole repository.
        digest: ``sha256:`` or ``sha512:`` and hexadecimal digits.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return f"{self.name}{tag}{'' if self.digest is None else '@' + self.digest}"

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def server(self) -> str:
        """Host and port that answer for the registry."""
        return find_server(self.registry)

    def pin(self, digest: str) -> Reference:
        """The same repository by a digest, without the tag."""
        return self._replace(tag=None, digest=digest)


def find_server(registry: str) -> str:
    """Host and port that answer for a registry's name."""
    return _SERVERS.get(registry, registry)


def parse_name(text: str) -> Reference:
    """An image's name; without tag and digest it is ``:latest``.

    Raises:
        BadReference
    """
    reference = parse_repository(text)
    return reference._replace(tag=DEFAULT_TAG) if reference.tag is reference.digest is None else reference


def parse_repository(text: str) -> Reference:
    """An image's name, or a repository's, which has neither tag nor digest.

    Raises:
        BadReference
    """
    if not text:
        raise BadReference("the name of the image is empty")
    if len(text) > _MAX_TEXT:
        raise BadReference(f"the name of an image has at most {_MAX_TEXT} characters")
    if "://" in text:
        raise BadReference(f"the name of an image has no '{_shorten(text.partition('://')[0])}://' before it")
    rest, at, digest = text.partition("@")
    if at and not _compiled(DIGEST).fullmatch(digest):
        raise BadReference(f"'@{_shorten(digest)}' is no digest; one is 'sha256:' and 64 hexadecimal digits")
    head, colon, last = rest.rpartition(":")
    tag = None
    if colon and "/" not in last and not (head == "" or _is_port(head, last)):
        rest, tag = head, last
        if not _compiled(TAG).fullmatch(tag):
            raise BadReference(
                f"':{_shorten(tag)}' is no tag; one has up to 128 of A-Z a-z 0-9 _ . -, and begins with none of . -"
            )
    registry, path = _split_host(rest)
    _check_path(path, registry)
    registry = _OTHER_NAMES.get(registry, registry)
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"{DEFAULT_NAMESPACE}/{path}"
    if len(registry) + 1 + len(path) > MAX_NAME:
        raise BadReference(f"host and repository have at most {MAX_NAME} characters together")
    return Reference(registry, path, tag, digest if at else None)


def _is_port(head: str, last: str) -> bool:
    """Whether what follows the last colon belongs to an address in brackets, as in ``[::1``."""
    return head.startswith("[") and "]" not in head and "]" in last


def _split_host(text: str) -> tuple[str, str]:
    """The registry is what stands before the first slash, if it looks like a host: with a dot, a colon, capitals, or
    ``localhost``."""
    first, slash, rest = text.partition("/")
    if not slash or not (set(first) & set(".:[]") or first == "localhost" or first.lower() != first):
        return DEFAULT_REGISTRY, text
    check_host(first)
    return first, rest


def check_host(text: str) -> None:
    """Whether this is a host, with or without a port.

    Raises:
        BadReference
    """
    if not _compiled(HOST).fullmatch(text):
        raise BadReference(f"'{_shorten(text)}' is no host of a registry")
    port = text.rpartition(":")[2] if ":" in text.rpartition("]")[2] else ""
    if port and not 0 < int(port) < 65536:
        raise BadReference(f"the port of '{_shorten(text)}' is none; it is a number from 1 to 65535")


def _check_path(path: str, registry: str) -> None:
    if _compiled(REPOSITORY).fullmatch(path):
        if registry == DEFAULT_REGISTRY and _compiled(r"[0-9a-f]{64}").fullmatch(path):
            raise BadReference("this is the ID of an image, not a name; a digest follows an '@'")
        return
    if not path:
        raise BadReference("the name of the repository is missing")
    if path.lower() != path:
        raise BadReference(f"'{_shorten(path)}' has capitals; a repository is written in small letters")
    raise BadReference(
        f"'{_shorten(path)}' is no repository; one has small letters and digits, and . _ __ - / between them"
    )


def _shorten(text: str) -> str:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return "".join(char if char.isprintable() else "?" for char in shown)
