"""Hash trees as veritysetup writes them."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

import pytest

from builder.core.tools import Tools
from builder.outputs.hash_tree import BLOCK, FAN_OUT, write_hash_tree

pytestmark = pytest.mark.image


@pytest.mark.parametrize("blocks", [1, 2, FAN_OUT, FAN_OUT + 1, FAN_OUT**2 + 1])
def test_a_tree_is_the_bytes_of_veritysetup(tools: Tools, tmp_path: Path, blocks: int) -> None:
    image, ours, theirs = (tmp_path / name for name in ("image", "ours", "theirs"))
    image.write_bytes(b"".join(number.to_bytes(4, "little").ljust(BLOCK, b"\1") for number in range(blocks)))
    salt, uuid = bytes(range(32)), UUID("11111111-2222-3333-4444-555555555555")
    said = tools.run("veritysetup", "format", f"--salt={salt.hex()}", f"--uuid={uuid}", image, theirs)
    assert re.search(r"Root hash:\s*([0-9a-f]{64})", said)[1] == write_hash_tree(image, ours, salt=salt, uuid=uuid)
    assert ours.read_bytes() == theirs.read_bytes()
