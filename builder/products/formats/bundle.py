"""What runtimes take that know nothing of images: a runtime-spec bundle."""

from __future__ import annotations

import shutil

from builder.products.product import Job, Part, Product


def finish_bundle(job: Job) -> None:
    """Put the tar, which the build wrote from its tree, where it belongs."""
    shutil.copyfile(job.parts[Part.BUNDLE], job.out)


PRODUCTS = (
    Product(
        "bundle",
        "runc, crun",
        "tar of `config.json` and `rootfs`, with owners",
        ".bundle.tar",
        needs=frozenset({Part.BUNDLE}),
        finish=finish_bundle,
    ),
)
