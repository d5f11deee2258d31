"""What takes room in an image, in numbers: by package, by directory, by kind, and against another image.

Bytes are those of files before compression; a file with several names is counted once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from builder.core.console import format_size
from builder.core.platform_devices import MODULES, choose_group
from builder.report.treemap import choose_place, measure_origins
from builder.tree.tree import Tree

SCHEMA = 1
DEPTH = 3  # /usr/lib/modules
SHOWN = 12  # rows of each table, where all would be too many


@dataclass(frozen=True)
class Sizes:
    """Bytes by name, the largest first.

    Attributes:
        packages: by what brought it: ``package:bash``, ``overlay:base``, ``container:web``.
        artifacts: bytes of the files that the build wrote.
        modules: kernel modules by what they are for, those that ``kernel.platforms`` may leave out by whose devices.
    """

    packages: Mapping[str, int]
    directories: Mapping[str, int]
    kinds: Mapping[str, int]
    artifacts: Mapping[str, int]
    modules: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Of all files in the root."""
        return sum(self.packages.values())


def measure_sizes(tree: Tree, artifacts: Mapping[str, int]) -> Sizes:
    """What the files of a finished tree take."""
    packages, directories, kinds, modules = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for origin, files in measure_origins(tree).items():
        for path, size in files.items():
            packages[origin] += size
            directories["/".join(path.split("/")[: DEPTH + 1][: path.count("/")]) or "/"] += size
            kinds[choose_place(path)] += size
            release, kernel, below = path.removeprefix(f"{MODULES}/").partition("/kernel/")
            if kernel and "/" not in release:
                modules[choose_group(below)] += size
    by_package, by_directory, by_kind = (dict(table.most_common()) for table in (packages, directories, kinds))
    return Sizes(by_package, by_directory, by_kind, artifacts, dict(modules.most_common()))


def encode_sizes(sizes: Sizes) -> str:
    """As JSON, for programs, and to be compared with later."""
    return json.dumps({"schema": SCHEMA, "total": sizes.total, **asdict(sizes)}, indent=1) + "\n"


def decode_sizes(text: str) -> Sizes:
    """The inverse of :func:`encode_sizes`.

    Raises:
        ValueError: it is no such text.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError("it was not written by 'build-os size --json'")
    parts: dict[str, Any] = {name: data.get(name) for name in ("packages", "directories", "kinds", "artifacts")}
    parts["modules"] = data.get("modules", {})  # an earlier version did not say
    if not all(isinstance(part, dict) and all(isinstance(n, int) for n in part.values()) for part in parts.values()):
        raise ValueError("it is damaged")
    return Sizes(**parts)


def list_changes(before: Mapping[str, int], now: Mapping[str, int]) -> list[tuple[str, int]]:
    """What has grown or shrunk, by how many bytes, the greatest change first."""
    changes = {name: now.get(name, 0) - before.get(name, 0) for name in before.keys() | now.keys()}
    return sorted(((n, size) for n, size in changes.items() if size), key=lambda row: (-abs(row[1]), row[0]))


def format_sizes(
    sizes: Sizes, before: Sizes | None = None, shown: int = SHOWN, other: str = "against the build before"
) -> list[str]:
    """For people: a table of each, and what is different from another image."""
    lines = [f"{format_size(sizes.total)} of files, before compression"]
    for title, rows in (
        ("files of the build", sizes.artifacts),
        ("kind", sizes.kinds),
        ("package", sizes.packages),
        ("kernel modules ('kernel.platforms' leaves drivers out)", sizes.modules),
        ("directory", sizes.directories),
    ):
        lines += ["", title, *_format_rows([*rows.items()], sum(rows.values()), shown)]
    if before is not None:
        changes = list_changes(before.packages, sizes.packages)
        difference = format_difference(sizes.total - before.total)
        lines += ["", f"{other}: {difference}" if changes else f"{other}: no difference"]
        lines += [f"  {format_difference(size):>10}  {name}" for name, size in changes[:shown]]
        lines += [f"  and {len(changes) - shown} more"] if len(changes) > shown else []
    return lines


def _format_rows(rows: Sequence[tuple[str, int]], total: int, shown: int) -> list[str]:
    lines = [f"  {format_size(size):>10}  {100 * size / (total or 1):4.1f} %  {name}" for name, size in rows[:shown]]
    rest = rows[shown:]
    if rest:
        lines.append(f"  {format_size(sum(size for _, size in rest)):>10}          {len(rest)} more")
    return lines


def format_difference(count: int) -> str:
    """``+1.2 MB``."""
    return f"{'+' if count > 0 else '-' if count < 0 else ''}{format_size(abs(count))}"
