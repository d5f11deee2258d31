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
    scheme, mark, rest = url.partition("://")
    if not mark:
        return DirectoryPlace(Path(url).absolute())
    if scheme == "file":
        return DirectoryPlace(Path(rest if rest.startswith("/") else f"/{rest.partition('/')[2]}"))
    if scheme == "oci":
        from builder.sharing.registry import RegistryPlace  # noqa: PLC0415 - few caches are in a registry

        return RegistryPlace(url)
    from builder.sharing.remote import RemotePlace  # noqa: PLC0415 - an extra of the package

    return RemotePlace(url)
