"""How a repository of versions lies in a registry, as artifacts (OCI image-spec 1.1, "Guidelines for Artifact Usage").

Each file of ``metadata/`` is a manifest with that file as a layer, tagged by its name, like ``3.snapshot.json``. The
manifest of ``N.targets.json`` has all the files that it lists as further layers, so that a registry keeps them for as
long as the tag is there. Titles are paths in the repository: what pulls all tags has the directory again. TUF says for
each target what its SHA-256 is, and that is its name in the registry, too.
"""

from __future__ import annotations

import re

ARTIFACT = "application/vnd.build-os.updates.v1"
METADATA_TYPE = "application/vnd.theupdateframework+json"
FILE_TYPE = "application/octet-stream"
METADATA, TARGETS = "metadata", "targets"
_TARGET = re.compile(r"(?:.*/)?([0-9a-f]{64})\.[^/]+")


def make_title(name: str) -> str:
    """Of a file of metadata, by its name."""
    return f"{METADATA}/{name}"


def find_digest(path: str) -> str | None:
    """The name of a target in the registry, of its path below ``targets/`` with the hash in it."""
    match = _TARGET.fullmatch(path)
    return match and f"sha256:{match[1]}"
