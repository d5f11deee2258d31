"""Small definitions, their locks, and a matrix of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.debian.lock import Lock, LockedPackage
from builder.definition.load import load
from builder.definition.variation import Variation
from builder.locking import hash_recipe
from builder.matrix.cells import LoadedMatrix, load_matrix


def write_lock(definition: Path, to: Path, variation: Variation | None = None) -> None:
    """A lock of one package that fits the definition."""
    resolved = load(definition, variation=variation).resolved
    package = LockedPackage(
        "bash", "5.2", "amd64", hashlib.sha256(b"x").hexdigest(), 1, "pool/b.deb", "bash 5.2", "trixie"
    )
    Lock(recipe_sha256=hash_recipe(resolved), arch=resolved.arch, suite="trixie", packages=(package,)).dump(to)


MakeMatrix = Callable[..., LoadedMatrix]


@pytest.fixture
def make_matrix(tmp_path: Path) -> MakeMatrix:
    """``make_matrix("arch: [amd64]", definitions=["one", "two"])``: written, and read."""

    def make(text: str, definitions: tuple[str, ...] = ("one",), *, locked: bool = False) -> LoadedMatrix:
        for name in definitions:
            path = tmp_path / f"{name}.yaml"
            path.write_text(f"name: {name}\nversion: 1.0.0\narch: amd64\n")
            if locked:
                write_lock(path, path.with_suffix(".lock"))
        listed = ", ".join(f"{name}.yaml" for name in definitions)
        (tmp_path / "matrix.yaml").write_text(f"definitions: [{listed}]\n{text}")
        return load_matrix(tmp_path / "matrix.yaml")

    return make


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")
