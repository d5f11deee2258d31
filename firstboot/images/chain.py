"""The names of layers that lie on others: chain IDs, as the image-spec defines them (config.md, "Layer ChainID")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def list_chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """For each layer the name of it and all below it: ``sha256:HEX``."""
    chain: list[str] = []
    for diff_id in diff_ids:
        name = diff_id if not chain else "sha256:" + hashlib.sha256(f"{chain[-1]} {diff_id}".encode()).hexdigest()
        chain.append(name)
    return chain
