"""What takes room in an image: packages, and the files in them, each with an area like its size.

The layout is the squarified treemap of Bruls, Huizing and van Wijk (2000): rectangles as near to squares as can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from builder.core.console import format_size
from builder.tree.node import EMPTY, Kind, Slice
from builder.tree.tree import Tree

WIDTH, HEIGHT, HEAD = 1100, 640, 15  # pixels; HEAD is the line with a package's name
SMALLEST = 8.0  # square pixels; what is smaller is not drawn
# Prefix -> name of the colour; the first that fits.
PLACES = (
    ("/usr/lib/modules/", "kernel modules"),
    ("/usr/lib/firmware/", "firmware"),
    ("/usr/lib/python3", "Python"),
    ("/usr/libexec/", "programs"),
    ("/usr/lib/", "libraries"),
    ("/usr/bin/", "programs"),
    ("/usr/sbin/", "programs"),
    ("/usr/share/", "data"),
)
OTHER = "other"


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels."""

    x: float
    y: float
    width: float
    height: float


def measure_origins(tree: Tree) -> dict[str, dict[str, int]]:
    """Origin -> path -> bytes, without empty files; a file with several names is counted under the first."""
    origins: dict[str, dict[str, int]] = {}
    seen: set[Slice] = set()
    for path, node in tree.walk():
        if node.kind is not Kind.FILE or node.content is EMPTY or not node.size:
            continue
        if isinstance(node.content, Slice):
            if node.content in seen:
                continue
            seen.add(node.content)
        origins.setdefault(node.origin, {})[path] = node.size
    return origins


def choose_place(path: str) -> str:
    """What kind of thing a path is."""
    return next((name for prefix, name in PLACES if path.startswith(prefix)), OTHER)


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """A box for each size, which are positive and descend; together they fill the given one."""
    boxes: list[Box] = []
    rest = list(sizes)
    area = box.width * box.height / sum(rest) if rest else 0.0
    while rest:
        side = min(box.width, box.height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], area, side) <= _worst(rest[:count], area, side):
            count += 1
        row, rest = rest[:count], rest[count:]
        thick = sum(row) * area / side if side else 0.0
        along = 0.0
        for size in row:
            length = size * area / thick if thick else 0.0
            if box.width >= box.height:
                boxes.append(Box(box.x, box.y + along, thick, length))
            else:
                boxes.append(Box(box.x + along, box.y, length, thick))
            along += length
        if box.width >= box.height:
            box = Box(box.x + thick, box.y, max(box.width - thick, 0.0), box.height)
        else:
            box = Box(box.x, box.y + thick, box.width, max(box.height - thick, 0.0))
    return boxes


def _worst(row: Sequence[float], area: float, side: float) -> float:
    """The greatest ratio of sides in a row laid along a side."""
    total = sum(row) * area
    if not total or not side:
        return float("inf")
    return max(side * side * row[0] * area / total**2, total**2 / (side * side * row[-1] * area))


def draw_treemap(tree: Tree) -> str:
    """An SVG of the tree's files; empty if it has none."""
    groups = sorted(measure_origins(tree).items(), key=lambda item: (-sum(item[1].values()), item[0]))
    if not groups:
        return ""
    totals = [sum(files.values()) for _, files in groups]
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">']
    for (origin, files), total, box in zip(groups, totals, squarify(totals, Box(0, 0, WIDTH, HEIGHT)), strict=True):
        parts.extend(_group(origin, files, total, box))
    return "\n".join([*parts, "</svg>"])


def _group(origin: str, files: dict[str, int], total: int, box: Box) -> list[str]:
    name = origin.removeprefix("package:").replace(":", " ")
    tip = f"<title>{escape(origin)}: {format_size(total)}</title>"
    parts = [f'<g>{tip}<rect class="package" {_at(box)}/>']
    has_head = box.width > 50 and box.height > 2 * HEAD
    top = HEAD if has_head else 1
    inner = Box(box.x + 1, box.y + top, max(box.width - 2, 0.0), max(box.height - top - 1, 0.0))
    ordered = sorted(files.items(), key=lambda item: (-item[1], item[0]))
    for (path, size), place in zip(ordered, squarify([size for _, size in ordered], inner), strict=True):
        if place.width * place.height < SMALLEST:
            break
        tip = f"<title>{escape(path)}: {format_size(size)} ({escape(origin)})</title>"
        parts.append(f'<rect class="file {_css(choose_place(path))}" {_at(place)}>{tip}</rect>')
        leaf = path.rpartition("/")[2]
        if place.width > 6.2 * len(leaf) + 6 and place.height > 14:
            parts.append(f'<text class="leaf" x="{place.x + 3:.1f}" y="{place.y + 11:.1f}">{escape(leaf)}</text>')
    if has_head:
        label = f"{name} {format_size(total)}"
        label = label if 6.4 * len(label) < box.width - 6 else name[: int((box.width - 6) / 6.4)]
        parts.append(f'<text class="head" x="{box.x + 4:.1f}" y="{box.y + 11:.1f}">{escape(label)}</text>')
    return [*parts, "</g>"]


def _at(box: Box) -> str:
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _css(name: str) -> str:
    return name.lower().replace(" ", "-")


def draw_legend() -> str:
    """What the colours mean, as HTML."""
    names = [*dict.fromkeys(name for _, name in PLACES), OTHER]
    return "".join(f'<span class="key {_css(name)}"></span>{escape(name)} ' for name in names)
