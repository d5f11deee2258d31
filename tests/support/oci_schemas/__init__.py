"""JSON schemas of the documents of OCI's image-spec and runtime-spec, written from the specifications.

They are closed: what they do not name is refused, so that a key that we misspell is found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

HERE = Path(__file__).parent
SCHEMAS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
_REGISTRY: Registry[Any] = Registry().with_resources(
    (f"oci:{name}", DRAFT202012.create_resource(schema)) for name, schema in SCHEMAS.items()
)


def find_mistakes(kind: str, document: object) -> list[str]:
    """What is wrong with a document of a kind, such as ``manifest``; nothing if it is one."""
    validator = Draft202012Validator(SCHEMAS[kind], registry=_REGISTRY)
    return sorted(f"{error.json_path}: {error.message}" for error in validator.iter_errors(document))


def find_mistakes_of_layout(layout: Path) -> list[str]:
    """What is wrong with the documents of an image layout: its own, and each manifest and configuration."""

    def read(name: str) -> Any:
        return json.loads((layout / name).read_bytes())

    index = read("index.json")
    mistakes = [*find_mistakes("layout", read("oci-layout")), *find_mistakes("index", index)]
    for entry in index["manifests"]:
        manifest = read(f"blobs/{entry['digest'].replace(':', '/')}")
        mistakes += find_mistakes("manifest", manifest)
        mistakes += find_mistakes("config", read(f"blobs/{manifest['config']['digest'].replace(':', '/')}"))
    return mistakes
