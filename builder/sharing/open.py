"""The place at a URL."""

from __future__ import annotations

from pathlib import Path

from builder.sharing.places import DirectoryPlace, Place


def open_place(url: str) -> Place:
    """The place at a URL: a path or ``file://``, ``oci://HOST/NAME``, or what fsspec knows (``s3://``, ``https://``).

    Raises:
        InputError: it is none.
        CapabilityError: fsspec is not installed.
    """
    if (directory := find_directory(url)) is not None:
        return DirectoryPlace(directory)
    if url.startswith("oci://"):
        from builder.sharing.registry import RegistryPlace  # noqa: PLC0415 - few caches are in a registry

        return RegistryPlace(url)
    from builder.sharing.remote import RemotePlace  # noqa: PLC0415 - an extra of the package

    return RemotePlace(url)


def find_directory(url: str | None) -> Path | None:
    """The directory that a URL names, absolute: a path, or ``file://``; ``None`` where it is another place, or none."""
    scheme, mark, rest = (url or "").partition("://")
    if not url or (mark and scheme != "file"):
        return None
    if not mark:
        return Path(url).absolute()
    return Path(rest if rest.startswith("/") else f"/{rest.partition('/')[2]}")
