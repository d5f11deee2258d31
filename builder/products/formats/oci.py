"""A container, or a system that is to run as one, as an OCI image archive."""

from __future__ import annotations

from builder.core.files import open_replacement
from builder.products.product import Job, Part, Product


def finish_archive(job: Job) -> None:
    """Pack the image layout into one file."""
    from builder.oci.image import write_archive  # noqa: PLC0415 - see the catalogue

    with open_replacement(job.out) as file:
        write_archive(job.parts[Part.OCI], file, created=job.identity.created)


PRODUCTS = (
    Product(
        "oci",
        "podman, docker, registries",
        "OCI image archive, layers that versions share",
        ".oci.tar",
        needs=frozenset({Part.OCI}),
        finish=finish_archive,
    ),
)
