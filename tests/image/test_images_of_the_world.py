"""Container images in and out beside the programs that everybody else uses for them."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from builder.core.store import Store
from builder.core.tools import Tools
from builder.core.zstd import decompress_zstd, open_zstd
from builder.oci.check import validate_layout
from builder.oci.image import LAYER_ZSTD
from builder.oci.layout import read_image
from tests.support.layouts import Layout, tar_of

pytestmark = pytest.mark.image


def compress(tools: Tools, data: bytes, path: Path) -> bytes:
    with path.open("w+b") as out:
        with open_zstd(tools, out, level=3) as compressor:
            compressor.write(data)
        out.seek(0)
        return out.read()


def test_layers_in_zstd_are_read(tools: Tools, tmp_path: Path) -> None:
    base, upper = tar_of(etc__a="1" * 5000, etc__b="1"), tar_of(etc___wh_a="", new="2")
    layout = Layout(tmp_path / "layout")

    def spoil(config: dict[str, object], manifest: dict[str, object]) -> None:
        blobs = [compress(tools, each, tmp_path / "blob") for each in (base, upper)]
        manifest["layers"] = [layout.blob(blob, LAYER_ZSTD) for blob in blobs]

    layout.image([base, upper], change=spoil)
    root = layout.finish()
    assert validate_layout(root, tools) == []
    image = read_image(root, Store(tmp_path / "store"), architecture="amd64", name="web", tools=tools)
    assert "/etc/a" not in image.tree
    assert image.tree.read("/new") == b"2"


def test_zstd_in_several_frames_damaged_cut_short_and_given_up(tools: Tools, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(3 << 20)
    frame = compress(tools, noise, tmp_path / "frame")
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00data"  # RFC 8878, section 3.1.2
    assert b"".join(decompress_zstd(tools, [frame, skippable, frame])) == noise + noise
    for damaged in (frame[:-5], frame[:1000] + b"x" + frame[1001:], frame + b"more", b"plain text, and no zstd"):
        with pytest.raises(ValueError, match=r"."):
            list(decompress_zstd(tools, io.BytesIO(damaged)))
    pieces = decompress_zstd(tools, [compress(tools, bytes(200 << 20), tmp_path / "zeros")])
    assert len(next(pieces)) > 0
    pieces.close()  # type: ignore[attr-defined]  # a generator
