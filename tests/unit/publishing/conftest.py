"""A publisher's desk: keys, payloads that are small, and tools whose zstd changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.core.console import QuietConsole
from builder.products.catalogue import SYSTEM_PRODUCTS
from builder.products.making import make_products
from builder.products.product import Identity, Part
from builder.publishing.keys import make_update_keys
from builder.publishing.publish import Origin

if TYPE_CHECKING:
    from conftest import FakeTools

NOW = 1_800_000_000
Build = Callable[..., Origin]


@pytest.fixture
def tools(fake_tools: FakeTools) -> FakeTools:
    def zstd(*arguments: str) -> str:
        out = arguments.index("-o")
        sources = [word for word in arguments[:out] if word.startswith("/")]
        Path(arguments[out + 1]).write_bytes(b"".join(Path(source).read_bytes() for source in sources))
        return ""

    fake_tools.programs["zstd"] = zstd
    return fake_tools


@pytest.fixture
def build(tmp_path: Path, tools: FakeTools) -> Build:
    """A function that makes the payload of a version from the bytes of its root."""

    def make(version: str, root: bytes = b"r" * 40_000, *, name: str = "web", roothash: str = "0f" * 32) -> Origin:
        directory = Path(tempfile.mkdtemp(dir=tmp_path))
        parts = {Part.ROOT: root, Part.VERITY: b"v" * 640, Part.UKI: b"MZ" + version.encode() * 2000}
        files = {part: directory / f"any-{part}" for part in parts}
        for part, path in files.items():
            path.write_bytes(parts[part])
        identity = Identity(name, version, "amd64", roothash, 86400, roothash)
        made = make_products([SYSTEM_PRODUCTS["update"]], files, directory / "out", tools, identity)
        return Origin(made["update"], name, version, "amd64", tools)

    return make


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    directory = tmp_path / "update-keys"
    make_update_keys(directory, now=NOW)
    return directory


@pytest.fixture
def console() -> QuietConsole:
    return QuietConsole()
