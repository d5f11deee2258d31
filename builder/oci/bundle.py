"""A runtime-spec bundle (bundle.md): ``config.json`` beside ``rootfs``, as one tar with owners and attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from builder.core.files import open_replacement
from builder.oci.runtime_config import ROOT
from builder.tree.node import make_directory, make_file
from builder.tree.tar import write_tar
from builder.tree.tree import Tree

ORIGIN = "output:bundle"
CONFIG = "config.json"


def format_config(config: Mapping[str, object]) -> str:
    """``config.json``."""
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def make_bundle(root: Tree, config: Mapping[str, object]) -> Tree:
    """The files of a bundle."""
    nodes = {"/": make_directory(origin=ORIGIN), f"/{CONFIG}": make_file(format_config(config), origin=ORIGIN)}
    nodes |= {f"/{ROOT}{path if path != '/' else ''}": node for path, node in root.walk()}
    return Tree(nodes)


def write_bundle(bundle: Tree, path: Path, *, created: int) -> None:
    """Write a bundle as a tar; no time in it is after ``created`` (seconds since 1970).

    Raises:
        OSError: it cannot be written, or content is gone from the store.
    """
    with open_replacement(path) as file:
        write_tar(bundle, file, latest=created)
