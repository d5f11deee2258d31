"""Facts of image layouts that a client of registries needs as well, which starts faster without all that reads them."""

from __future__ import annotations

LAYOUT_VERSION = {"imageLayoutVersion": "1.0.0"}
MAX_LAYERS = 500  # overlayfs takes no more lower directories, fs/overlayfs/params.c: OVL_MAX_STACK
