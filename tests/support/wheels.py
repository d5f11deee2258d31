"""Wheels made by tests, good ones and bad ones."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from builder.debian.lock import LockedWheel


def make_wheel(
    directory: Path,
    name: str = "shop",
    version: str = "1.0",
    files: Mapping[str, bytes | str] | None = None,
    *,
    tag: str = "py3-none-any",
    metadata: str = "",
    record: Mapping[str, tuple[str, str] | None] | None = None,
    entry_points: str = "",
    extra: Mapping[str, bytes | str] | None = None,
) -> Path:
    """A wheel with these files.

    Args:
        metadata: further headers.
        record: of a path, what RECORD says instead of the truth; ``None`` leaves it out.
        extra: files that RECORD does not name.
    """
    distribution = name.replace("-", "_")
    info = f"{distribution}-{version}.dist-info"
    contents: dict[str, bytes] = {
        path: data.encode() if isinstance(data, str) else data
        for path, data in (files if files is not None else {f"{distribution}/__init__.py": "answer = 42\n"}).items()
    }
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n".encode()
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {str(tag.endswith('any')).lower()}\nTag: {tag}\n"
    ).encode()
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points.encode()
    rows: dict[str, tuple[str, str] | None] = {path: describe(data) for path, data in contents.items()}
    rows |= {f"{info}/RECORD": ("", ""), **(record or {})}
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows((path, *row) for path, row in rows.items() if row is not None)
    contents[f"{info}/RECORD"] = out.getvalue().encode()
    contents |= {path: data.encode() if isinstance(data, str) else data for path, data in (extra or {}).items()}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{distribution}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in contents.items():
            entry = zipfile.ZipInfo(member)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if "/scripts/" in member or member.endswith(".so") else 0o100644) << 16
            archive.writestr(entry, data)
    return path


def describe(data: bytes) -> tuple[str, str]:
    """What RECORD says of a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(data))


def lock_wheel(path: Path, environment: str = "web") -> LockedWheel:
    """The row of a lock for a wheel."""
    name, version = path.name.split("-")[:2]
    data = path.read_bytes()
    normal = name.replace("_", "-").lower()
    return LockedWheel("image", environment, normal, version, path.name, hashlib.sha256(data).hexdigest(), len(data))
