"""Names of images that the user wrote. The grammar is shared with the guest: :mod:`firstboot.config.oci.reference`."""

from __future__ import annotations

from builder.core.errors import InputError
from firstboot.config.oci.reference import BadReference, Reference, parse_name, parse_repository

__all__ = ["Reference", "parse_reference"]

HINT = "a name is [HOST[:PORT]/]PATH[:TAG][@sha256:DIGEST], like debian:13 or ghcr.io/team/app@sha256:..."


def parse_reference(text: str, *, whole_repository: bool = False) -> Reference:
    """The image that a text names; ``:latest`` where it has neither tag nor digest.

    Args:
        whole_repository: whether a name without both means the repository, and has no tag then.

    Raises:
        InputError: it names none.
    """
    try:
        return parse_repository(text) if whole_repository else parse_name(text)
    except BadReference as error:
        raise InputError(f"{text[:200]!r} names no image: {error}", hint=HINT) from None
